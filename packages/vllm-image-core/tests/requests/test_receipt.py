import json

from vllm_image_core.imaging.size import Size
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.receipt import Line, Receipt, receipt
from vllm_image_core.requests.resolver import resolve

REGISTRY = Registry.builtin()
KLEIN = "black-forest-labs/FLUX.2-klein-4B"
RATIO_MEANS = "the aspect_ratio means 1024x576 here"
RATIO_WINS = "the aspect_ratio overrides it and means 1024x576 here"
DROPPED = f"{KLEIN} does not support negative prompts; negative_prompt was dropped"
GUIDED = (
    f"guidance_scale 7 is not sent: {KLEIN} is distilled, and above 1 an image takes about twice the time "
    "and is likely worse. 1 is sent instead"
)


def written(model: str, request: ImageRequest) -> Receipt:
    profile = REGISTRY.find(model).profile
    return receipt(request, resolve(request, profile, draw_seed=lambda: 42))


def line(written: Receipt, parameter: str) -> Line:
    (found,) = [each for each in written.lines if each.parameter == parameter]
    return found


def test_a_receipt_is_a_table_of_every_parameter() -> None:
    asked = ImageRequest(
        prompt="a red fox", negative_prompt="blur", aspect_ratio="16:9", width=1000, guidance_scale=7
    )
    whole = written("FLUX.2-klein-4B", asked).confirm(size=Size(1024, 512), output_format="png")
    assert [row.rstrip(".") for row in str(whole).splitlines()] == [
        f"{'parameter':<21}{'requested':<11}{'sent':<15}{'confirmed':<11}why",
        f"{'prompt':<21}{'a red fox':<11}{'a red fox':<15}-",
        f"{'negative_prompt':<21}{'blur':<11}{'-':<15}{'-':<11}{DROPPED}",
        f"{'aspect_ratio':<21}{'16:9':<11}{'size=1024x576':<15}-",
        f"{'width':<21}{'1000':<11}{'1024':<15}{'1024':<11}width 1000 is ignored: {RATIO_WINS}",
        f"{'height':<21}{'-':<11}{'576':<15}{'512':<11}{RATIO_MEANS}; the server sent 512 instead of 576",
        f"{'num_inference_steps':<21}{'-':<11}{'4':<15}{'-':<11}the model's standard setting",
        f"{'guidance_scale':<21}{'7':<11}{'1':<15}{'-':<11}{GUIDED}",
        f"{'seed':<21}{'-':<11}{'42':<15}{'-':<11}drawn",
        f"{'output_format':<21}{'-':<11}{'png':<15}png",
    ]


def test_only_values_that_were_drawn_changed_or_dropped_or_that_differ_are_listed() -> None:
    asked = ImageRequest(prompt="a red fox", negative_prompt="blur", aspect_ratio="16:9", width=1000)
    whole = written("FLUX.2-klein-4B", asked).confirm(size=Size(1024, 512), output_format="jpeg")
    assert [(each.parameter, each.outcome) for each in whole.notable_lines] == [
        ("negative_prompt", "dropped"),
        ("width", "changed"),
        ("height", "differs"),
        ("seed", "drawn"),
        ("output_format", "differs"),
    ]


def test_a_complete_request_has_nothing_to_list() -> None:
    asked = ImageRequest(
        prompt="a red fox", width=512, height=512, num_inference_steps=4, guidance_scale=1.0, seed=7
    )
    whole = written("FLUX.2-klein-4B", asked).confirm(size=Size(512, 512), output_format="png")
    assert whole.notable_lines == ()
    assert {each.outcome for each in whole.lines} == {"as asked", "filled in"}


def test_guidance_is_listed_under_the_field_that_the_model_reads() -> None:
    off = line(written("Qwen-Image", ImageRequest(prompt="a fox", guidance_scale=0)), "guidance_scale")
    assert (off.requested, off.sent, off.sent_as, off.outcome) == (0, 1.0, "true_cfg_scale", "changed")
    assert off.why == "guidance_scale 0 turns guidance off; it is sent as true_cfg_scale 1"


def test_a_blank_negative_prompt_that_guidance_needs_is_filled_in_with_the_reason() -> None:
    blank = line(written("Qwen-Image", ImageRequest(prompt="a fox")), "negative_prompt")
    assert (blank.sent, blank.outcome) == (" ", "filled in")
    assert blank.why == "guidance needs one here, and a space is enough"


def test_a_seed_that_was_drawn_before_is_reported_as_drawn() -> None:
    drawn = line(written("Qwen-Image", ImageRequest(prompt="a fox", seed=5, seed_drawn=True)), "seed")
    assert (drawn.requested, drawn.sent, drawn.outcome) == (None, 5, "drawn")


def test_a_quality_says_what_it_filled_in() -> None:
    best = written("Qwen-Image", ImageRequest(prompt="a fox", quality="best", num_inference_steps=12))
    assert line(best, "quality") == Line(parameter="quality", requested="best")
    assert line(best, "num_inference_steps").outcome == "as asked"
    assert line(best, "guidance_scale").why == "the model's best setting"
    assert (line(best, "width").sent, line(best, "width").why) == (1328, "the model's best size")


def test_a_quality_that_the_model_lacks_is_dropped() -> None:
    draft = line(written("FLUX.2-klein-4B", ImageRequest(prompt="a fox", quality="draft")), "quality")
    assert draft.outcome == "dropped"
    assert draft.why == (
        "black-forest-labs/FLUX.2-klein-4B has no settings for quality draft; its standard settings are used"
    )


def test_a_hostile_prompt_stays_on_one_short_line_of_the_table() -> None:
    table = str(written("Qwen-Image", ImageRequest(prompt="a\nfox\u202e" + "x" * 10_000)))
    assert all(text.isprintable() for text in table.splitlines())
    assert len(table) < 2_000


def test_the_receipt_in_a_file_has_each_parameter_once_and_no_text_twice() -> None:
    whole = written("FLUX.2-klein-4B", ImageRequest(prompt="a fox", negative_prompt="blurry", seed=7))
    facts = whole.compact()
    assert list(facts) == [each.parameter for each in whole.lines]
    assert facts["prompt"] == {"outcome": "as asked"}
    assert facts["negative_prompt"] == {
        "requested": "blurry",
        "outcome": "dropped",
        "why": line(whole, "negative_prompt").why,
    }
    assert facts["seed"] == {"requested": 7, "sent": 7, "outcome": "as asked"}


def test_the_complete_receipt_can_be_written_as_json() -> None:
    whole = written("Qwen-Image", ImageRequest(prompt="a fox", quality="best"))
    facts = json.loads(json.dumps(whole.facts()))
    assert [fact["parameter"] for fact in facts] == [each.parameter for each in whole.lines]
    assert facts[-2] == {
        "parameter": "seed",
        "requested": None,
        "sent": 42,
        "sent_as": None,
        "confirmed": None,
        "outcome": "drawn",
        "why": "drawn",
    }
