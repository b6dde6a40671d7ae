import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel, ValidationError
from vllm_image_core.errors import CannotSave, ImageError, InvalidRequest, NotRecalled, UnknownBatch
from vllm_image_core.fleet.health import Health
from vllm_image_mcp.cli import main
from vllm_image_mcp.error_messages import (
    diagnosis,
    explain,
    explain_arguments,
    explain_unknown,
    next_step,
    sentence,
)
from vllm_omni_client.errors import (
    BadReply,
    ConnectionLost,
    NotFound,
    OmniError,
    OutOfGpuMemory,
    RequestTimeout,
    ServerUnreachable,
    Unauthorized,
)

URL = "http://gpu:6655"


def test_an_unreachable_server_is_reported_in_the_words_of_the_plan() -> None:
    error = ServerUnreachable(f"{URL} cannot be reached: refused", reason="refused")
    assert explain(error, server_url=URL) == (
        "Cannot connect to vLLM server at http://gpu:6655. Is the container running? "
        "Check with `server_health` tool."
    )


def test_out_of_memory_is_reported_in_the_words_of_the_plan_with_what_was_requested() -> None:
    error = OutOfGpuMemory("CUDA out of memory", status=500)
    error.add_note("Requested: 2000x1600, 4 steps, seed 42.")
    assert explain(error, server_url=URL) == (
        "Server returned out-of-memory error. Try reducing resolution or use `gpu_status` to check available "
        "memory. Requested: 2000x1600, 4 steps, seed 42."
    )


def test_a_healthy_server_needs_no_diagnosis() -> None:
    assert diagnosis(Health(server_url=URL, status="healthy", model="klein")) is None


def test_a_server_that_is_not_ready_is_reported_as_not_ready() -> None:
    assert diagnosis(Health(server_url=URL, status="unhealthy")) == (
        "The server answers, but no model is ready: it is still starting, or it failed; see its log."
    )


def test_a_diagnosis_does_not_refer_to_itself_and_says_why() -> None:
    error = ServerUnreachable(f"{URL} cannot be reached: unknown host", reason="dns")
    assert diagnosis(Health(server_url=URL, status="unreachable", error=error)) == (
        "Cannot connect to vLLM server at http://gpu:6655. Is the container running? "
        "http://gpu:6655 cannot be reached: unknown host. Correct the host name in --vllm-url."
    )


def test_any_other_error_of_a_server_is_diagnosed_as_it_is_reported() -> None:
    error = NotFound("Not Found", status=404)
    health = Health(server_url=URL, status="unhealthy", error=error)
    assert diagnosis(health) == explain(error, server_url=URL)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadReply("junk"), "Check that --vllm-url leads to"),
        (NotFound("no route", status=404), "Check that --vllm-url leads to"),
        (Unauthorized("no", status=401), "as --api-key or VLLM_IMAGE_API_KEY."),
        (RequestTimeout("late"), "Raise --timeout,"),
        (CannotSave("No space left."), "Set it with --output-dir."),
    ],
)
def test_the_next_step_uses_the_words_of_this_program(error: ImageError | OmniError, words: str) -> None:
    assert words in explain(error, server_url=URL)
    assert words in sentence(error)


def test_an_option_is_named_only_for_the_output_folder_and_an_attribute_never() -> None:
    step = "Choose another output folder. The image is in the `picture` attribute of this error."
    assert next_step(CannotSave("Full.", next_step=step)) == (
        "Choose another output folder. Set it with --output-dir."
    )
    for other in ("Close the program that has it open, and try again.", "Choose another folder."):
        assert next_step(CannotSave("Held.", next_step=other)) == other


@pytest.mark.parametrize(
    ("error", "for_a_model", "for_a_person"),
    [
        (ConnectionLost("broke"), "still running (server_health)", "still running (`vllm-image-mcp health`)"),
        (OutOfGpuMemory("full", status=500), "Try reducing resolution", "or a lower --max-concurrent."),
    ],
)
def test_a_person_at_a_shell_reads_of_commands_and_options_rather_than_tools(
    error: OmniError, for_a_model: str, for_a_person: str
) -> None:
    assert for_a_model in explain(error, server_url=URL)
    assert for_a_person in sentence(error)


def test_a_refused_value_is_reported_with_what_to_do_and_every_note() -> None:
    error = InvalidRequest(
        "Width 1000 is not a multiple of 16. Nearest valid width is 1008.",
        parameter="width",
        value=1000,
        allowed="multiples of 16",
        next_step="Give width=1008.",
    )
    error.add_note("This is entry 3 of the batch, counted from 0; nothing was sent.")
    assert explain(error, server_url=URL) == (
        "Width 1000 is not a multiple of 16. Nearest valid width is 1008. Give width=1008. "
        "This is entry 3 of the batch, counted from 0; nothing was sent."
    )


def test_sentences_end() -> None:
    error = NotRecalled("It is not known here", next_step="Really?")
    assert explain(error, server_url=URL) == "It is not known here. Really?"


def test_an_unknown_batch_is_reported_with_the_tool_that_lists_batches() -> None:
    text = explain(UnknownBatch("Batch 'x' is not known here."), server_url=URL)
    assert text.endswith("Use list_batches to see the batches in this folder.")


def test_a_person_is_told_the_reason_and_the_next_step() -> None:
    error = ServerUnreachable(f"{URL} cannot be reached: refused", reason="refused")
    assert sentence(error) == (
        "http://gpu:6655 cannot be reached: refused. "
        "Start the server (`vllm serve MODEL --omni --port PORT`), or correct --vllm-url."
    )


def test_an_error_of_an_unknown_kind_is_reported_unchanged() -> None:
    assert sentence(RuntimeError("odd")) == "odd."


def test_mismatched_arguments_are_reported_without_links_of_the_validator() -> None:
    class Arguments(BaseModel):
        prompt: str

    with pytest.raises(ValidationError) as caught:
        Arguments.model_validate({})
    assert explain_arguments("generate_image", caught.value, ["prompt", "seed"]) == (
        "generate_image was called with invalid arguments: prompt: Field required. "
        "Its parameters are: prompt, seed."
    )


def test_a_misspelt_parameter_is_reported_with_the_right_name_and_all_names() -> None:
    slips = {"steps": "Use num_inference_steps", "\x1b[31m": "Use width"}
    assert explain_unknown("generate_image", slips, ["prompt", "width"]) == (
        "generate_image has no parameter 'steps'. Use num_inference_steps. generate_image has no parameter "
        "'\\x1b[31m'. Use width. Its parameters are: prompt, width."
    )


def test_a_message_survives_a_pickle(tmp_path: Path) -> None:
    error = CannotSave(f"Cannot save images in {tmp_path}.")
    assert sentence(pickle.loads(pickle.dumps(error))) == sentence(error)  # noqa: S301 - our own error


@pytest.mark.parametrize(
    ("message", "at_a_shell"),
    [
        ("num_inference_steps: 0 is out of range", "--steps: 0 is out of range"),
        ("Give width=3904, or an aspect_ratio", "Give --width 3904, or an --aspect-ratio"),
        (
            "The width of /tmp/aspect_ratio/x is 'guidance_scale'",
            "The width of /tmp/aspect_ratio/x is 'guidance_scale'",
        ),
        ("colour=red is not read", "colour=red is not read"),
    ],
)
def test_a_person_at_a_shell_reads_options_instead_of_parameters(message: str, at_a_shell: str) -> None:
    error = InvalidRequest(message, parameter="num_inference_steps", value=0, allowed="1 to 200")
    assert sentence(error) == f"{at_a_shell}. Correct --steps and try again."
    assert message in explain(error, server_url=URL)


def options_of_commands() -> Iterator[tuple[click.Command, click.Parameter]]:
    """Every option and argument with a value, of every command, apart from the settings."""
    commands: list[click.Command] = [main]
    while commands:
        command = commands.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            commands += filter(None, (command.get_command(context, name) for name in names))
        yield from ((command, each) for each in command.params if not hasattr(each, "group"))


def test_every_option_of_every_command_is_named_in_an_error_as_it_is_typed() -> None:
    checked = 0
    for command, each in options_of_commands():
        name = str(each.name)
        argument = re.findall(r"\w+", each.metavar or name.upper())[0]
        typed = each.opts[0] if isinstance(each, click.Option) else argument
        error = InvalidRequest(f"{name}: 5 is wrong.", parameter=name, value=5, allowed="six")
        with click.Context(command):
            assert sentence(error) == f"{typed}: 5 is wrong. Correct {typed} and try again."
        checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("parameter", "message", "at_a_shell"),
    [
        (
            "layers",
            "It does not support layers and would ignore it",
            "It does not support --layers and would",
        ),
        (
            "width",
            "Give one, or give width and height instead",
            "Give one, or give --width and --height instead",
        ),
        (
            "mask",
            "Leave out width, height and aspect_ratio",
            "Leave out --width, --height and --aspect-ratio",
        ),
        ("count", "Use count=10 for ten", "Use -n 10 for ten"),
        (
            "sweep",
            "sweep has 'x'. Use one of seed, flow_shift",
            "--sweep has 'x'. Use one of seed, flow_shift",
        ),
        ("sweep", "sweep has 4. Use 3, or zip", "--sweep has 4. Use 3, or --zip"),
        ("seed", "The mask: width of the seed", "The mask: width of the seed"),
    ],
)
def test_an_ordinary_word_is_an_option_only_in_its_place(
    parameter: str, message: str, at_a_shell: str
) -> None:
    error = InvalidRequest(message, parameter=parameter, value=0, allowed="others")
    sweep = main.get_command(click.Context(main), "sweep")
    assert sweep
    with click.Context(sweep):
        assert sentence(error).startswith(at_a_shell)


def test_a_missing_batch_id_leads_to_the_list_of_batches() -> None:
    class Arguments(BaseModel):
        batch_id: str

    with pytest.raises(ValidationError) as caught:
        Arguments.model_validate({})
    message = explain_arguments("cancel_batch", caught.value, ["batch_id"])
    assert message.endswith(
        "Its parameters are: batch_id. Use list_batches to see the batches in this folder."
    )
