"""The commands for batches, as processes where signals matter."""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from vllm_image_core.batches.items import Done
from vllm_image_mcp.cli import batch_progress, main
from vllm_image_mcp.shutdown import DRAIN_SECONDS

if TYPE_CHECKING:
    from vllm_image_core.batches.item_states import ImageOutcome

    from conftest import OmniServer

DEADLINE_SECONDS = 60
Run = Callable[..., Result]
RunIn = Callable[..., Result]

SMALL = ("--width", "64", "--height", "64")


_BAD_JSON = b"""{"prompt": "a fox"}
{"prompt":
[1]
{"colour": 1, "prompt": "x"}
{}

{"prompt": "an elk"}
{"prompt": 5}
{"prompt": "a hare", "width": "64"}
"""


def objects(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_batch_generates_an_image_for_each_line(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(
        "\ufeffa red fox\r\n\r\n  an owl  \r\nein Fuchs im Schnee ❄️\r\n".encode()
    )
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL, "--steps", "2")
    assert result.exit_code == 0, result.stderr
    assert [sent["prompt"] for sent in omni.requests] == ["a red fox", "an owl", "ein Fuchs im Schnee ❄️"]
    assert {sent["num_inference_steps"] for sent in omni.requests} == {2}
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/3]", "[2/3]", "[3/3]"]
    assert {line.split()[1] for line in lines} == {
        str(path) for path in (tmp_path / "generated_images").glob("*.png")
    }
    assert "3 generated, 0 failed" in result.stderr


def test_a_failed_line_is_named_by_its_number_and_stops_nothing(
    run: Run, omni: "OmniServer", tmp_path: Path
) -> None:
    omni.failures["an owl"] = (400, "no owls here")
    (tmp_path / "prompts.txt").write_text("a red fox\n\nan owl\na hare\n")
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "line 3 failed: " in result.stderr
    assert "no owls here" in result.stderr
    assert "2 generated, 1 failed" in result.stderr


def test_a_batch_may_come_from_standard_input_and_be_longer_than_that_of_a_tool(
    run: Run, omni: "OmniServer"
) -> None:
    prompts = "\n".join(f"fox {number}" for number in range(21)).encode()
    result = run("batch", "--vllm-url", omni.url, "-", *SMALL, stdin=prompts)
    assert result.exit_code == 0, result.stderr
    assert len(omni.requests) == 21


def test_the_notes_of_a_batch_are_printed_once(run: Run, omni: "OmniServer", tmp_path: Path) -> None:
    omni.runs("acme/painter")
    (tmp_path / "prompts.txt").write_text("a red fox\nan owl\n")
    result = run("batch", "--vllm-url", omni.url, "prompts.txt", *SMALL)
    assert result.stderr.count("Model 'acme/painter' is not in the known profiles.") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "prompts.txt contains no prompts; write one on each line."),
        (b"\xef\xbb\xbf \r\n\n", "prompts.txt contains no prompts; write one on each line."),
        ("ein Füchslein".encode("latin-1"), "prompts.txt is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_a_file_without_prompts_is_a_usage_error(
    run: Run, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    result = run("batch", "--demo", "prompts.txt")
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_csv_file_has_parameters_for_each_row(tmp_path: Path, omni: "OmniServer", run_in: RunIn) -> None:
    rows = 'prompt,steps,Seed,width,height\r\n"a fox, red",2,7,64,64\r\n\r\nan owl,,,80,64\r\n'
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbf" + rows.encode())
    result = run_in("batch", str(tmp_path / "rows.csv"), "--steps", "3", "--json", url=omni.url)
    assert result.exit_code == 0, result.stderr
    sent = sorted((each["prompt"], each["size"], each["num_inference_steps"]) for each in omni.requests)
    assert sent == [("a fox, red", "64x64", 2), ("an owl", "80x64", 3)]
    told = {each["prompt"]: each for each in objects(result)}
    fox = told["a fox, red"]
    assert (fox["line"], fox["seed"], fox["status"], fox["index"]) == (2, 7, "done", 0)
    assert Path(str(fox["path"])).is_file()
    assert told["an owl"]["line"] == 4


def test_json_escapes_what_could_control_the_terminal(
    tmp_path: Path, omni: "OmniServer", run_in: RunIn
) -> None:
    prompt = "a fox\u202e\u200b\u2066 雪"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": prompt, **_small()}), "utf-8")
    results = [
        run_in("batch", str(tmp_path / "rows.jsonl"), "--json", url=omni.url),
        run_in("batches", "--json"),
    ]
    for result in results:
        assert result.exit_code == 0, result.stderr
        assert "\\u202e\\u200b\\u2066 雪" in result.stdout
        assert objects(result)[0]["prompt"] == prompt


def test_json_lines_have_parameters_for_each_row(tmp_path: Path, omni: "OmniServer", run_in: RunIn) -> None:
    rows = [{"prompt": "a fox", "seed": 7, **_small()}, {"prompt": "an owl", "tag": "night", **_small()}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = run_in("batch", str(tmp_path / "rows.jsonl"), url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert sorted(each["prompt"] for each in omni.requests) == ["a fox", "an owl"]


def test_the_time_left_is_printed_with_its_basis(
    tmp_path: Path, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch, run_in: RunIn
) -> None:
    monkeypatch.setattr(batch_progress, "_PROGRESS_SECONDS", 0.0)
    told: list[list[str]] = []
    for animal in ("fox", "owl"):
        (tmp_path / "prompts.txt").write_text(f"a {animal}\na red {animal}\n")
        result = run_in("batch", str(tmp_path / "prompts.txt"), *SMALL, url=omni.url)
        assert result.exit_code == 0, result.stderr
        told.append(result.stderr.splitlines())
    assert re.search(
        r"2 requests, 0 done, .*, (about .* s|less than 1 s) left \(nothing measured yet: ", told[0][0]
    )
    assert any(
        re.search(r"1 of 2 done, 0 failed, .* left \(1 image on this server", line) for line in told[0]
    )
    assert re.search(r" left \(2 images on this server", told[1][0])


def _small() -> dict[str, int]:
    return {"width": 64, "height": 64}


@pytest.mark.parametrize(
    ("name", "content", "refusals"),
    [
        (
            "rows.csv",
            b"prompt,width\na fox,64\nan owl,wide\na hare,64,9,9\n\xff\xfe,64\n,64\na bear,1000\nan elk,64\n",
            {3: "width 'wide' is not an integer", 4: "4 cells", 5: "UTF-8", 6: "no prompt", 7: "Width 1000"},
        ),
        (
            "rows.jsonl",
            _BAD_JSON,
            {
                2: "not valid JSON",
                3: "not a JSON object",
                4: "'colour'",
                5: "no prompt",
                8: "prompt",
                9: "width",
            },
        ),
    ],
)
def test_i10_bad_rows_are_listed_by_line_and_the_others_are_generated(
    tmp_path: Path, name: str, content: bytes, refusals: dict[int, str], run_in: RunIn
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run_in("batch", str(tmp_path / name), *SMALL)
    assert result.exit_code == 1
    told = {int(line.split()[1]): line for line in result.stderr.splitlines() if line.startswith("line ")}
    assert {line: words in told.get(line, "") for line, words in refusals.items()} == dict.fromkeys(
        refusals, True
    )
    assert told.keys() == refusals.keys()
    assert len(list((tmp_path / "made").glob("*.png"))) == 2


def test_i10_a_line_of_a_hundred_megabytes_is_refused_and_never_held_in_memory(
    tmp_path: Path, run_in: RunIn
) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.write(b'{"prompt": "a fox"}\n')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'\n{"prompt": "an owl"}\n')
    result = run_in("batch", str(path), *SMALL)
    assert "line 2 refused: " in result.stderr
    assert len(result.output) < 3_000
    assert len(list((tmp_path / "made").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [("a,b\n1,2\n", "has an unknown column 'a'"), ("width\n64\n", "no prompt column"), ("\n", "no header")],
)
def test_a_csv_file_without_a_usable_header_is_a_usage_error(
    tmp_path: Path, content: str, words: str, run_in: RunIn
) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    result = run_in("batch", str(tmp_path / "rows.csv"))
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_seed_counts_up_from_row_to_row_except_for_rows_with_their_own(
    tmp_path: Path, omni: "OmniServer", run_in: RunIn
) -> None:
    (tmp_path / "rows.csv").write_text("prompt,seed\na,\nb,5\nc,\n", encoding="utf-8")
    result = run_in("batch", str(tmp_path / "rows.csv"), "--seed", "100", *SMALL, url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert {each["prompt"]: each["seed"] for each in omni.requests} == {"a": 100, "b": 5, "c": 102}


def test_a_row_with_the_seed_minus_one_gets_a_random_seed(
    tmp_path: Path, omni: "OmniServer", run_in: RunIn
) -> None:
    (tmp_path / "rows.csv").write_text("prompt,seed\na,-1\nb,-1\nc,-2\nd,\n", encoding="utf-8")
    result = run_in("batch", str(tmp_path / "rows.csv"), "--seed", "-1", *SMALL, url=omni.url)
    assert result.exit_code == 0, result.stderr
    seeds = {each["prompt"]: each["seed"] for each in omni.requests}
    assert seeds.pop("c") == -2
    assert min(seeds.values()) >= 0
    assert len(set(seeds.values())) == 3


def test_a_reused_image_is_printed_with_the_option_to_generate_it_again(
    run: Run, omni: "OmniServer", tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a red fox", encoding="utf-8")
    command = ("batch", str(tmp_path / "prompts.txt"), "--vllm-url", omni.url, "--seed", "7", *SMALL)
    assert [("Use --fresh" in run(*command).stderr) for _ in range(2)] == [False, True]


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
@pytest.mark.parametrize("stop", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["P01-once", "P02"])
def test_a_signal_lets_images_in_progress_finish_and_says_how_to_continue(
    shell: subprocess.Popen[str],
    omni: "OmniServer",
    tmp_path: Path,
    stop: tuple[int, int],
    only_batch: Callable[[], str],
) -> None:
    number, status = stop
    assert shell.stderr is not None
    shell.send_signal(number)
    heard = ""
    while "Stopping" not in heard:
        heard += shell.stderr.readline()
    omni.release()
    _, rest = shell.communicate(timeout=DEADLINE_SECONDS)
    assert shell.returncode == status
    assert len(omni.requests) == 3
    assert "3 generated, 0 failed" in rest
    name = only_batch()
    assert f"5 remaining. To resume: vllm-image-mcp resume {name}" in rest
    typed = rest.partition("To resume: vllm-image-mcp ")[2].splitlines()[0]
    again = CliRunner().invoke(main, shlex.split(typed))
    assert again.exit_code == 0, again.stderr
    assert [line.split()[0] for line in again.stdout.splitlines()] == [
        f"[{count}/8]" for count in range(4, 9)
    ]
    assert len(omni.requests) == 8
    assert len(list((tmp_path / "made").glob("*.png"))) == 8


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_p01_a_second_ctrl_c_closes_at_once(
    shell: subprocess.Popen[str],
    omni: "OmniServer",
    tmp_path: Path,
    run_in: RunIn,
    only_batch: Callable[[], str],
) -> None:
    assert shell.stderr is not None
    shell.send_signal(signal.SIGINT)
    heard = ""
    while "Stopping" not in heard:
        heard += shell.stderr.readline()
    shell.send_signal(signal.SIGINT)
    _, rest = shell.communicate(timeout=DRAIN_SECONDS - 1)  # before what is in progress has had its time
    assert shell.returncode == 130
    assert "2 generated, 0 failed" in rest
    omni.release()
    assert run_in("resume", only_batch(), url=omni.url).exit_code == 0
    assert len(list((tmp_path / "made").glob("*.png"))) == 8


def test_an_image_removed_while_its_batch_ran_does_not_count_as_generated(
    tmp_path: Path, omni: "OmniServer", monkeypatch: pytest.MonkeyPatch, run_in: RunIn
) -> None:
    (tmp_path / "prompts.txt").write_text("a fox\nan owl\n", encoding="utf-8")
    show = batch_progress.BatchProgress._show

    def show_and_remove(screen: batch_progress.BatchProgress, outcome: "ImageOutcome") -> None:
        show(screen, outcome)
        if isinstance(outcome, Done) and outcome.item.prompt == "a fox":
            outcome.value.path.unlink()

    monkeypatch.setattr(batch_progress.BatchProgress, "_show", show_and_remove)
    result = run_in("batch", str(tmp_path / "prompts.txt"), *SMALL, url=omni.url)
    monkeypatch.undo()
    assert result.exit_code == 1
    assert "1 generated, 0 failed" in result.stderr
    assert "1 image was generated, then removed from the folder" in result.stderr
    typed = result.stderr.partition("To resume: vllm-image-mcp ")[2].splitlines()[0]
    again = CliRunner().invoke(main, shlex.split(typed))
    assert (again.exit_code, len(omni.requests)) == (0, 3)


def test_rows_have_their_own_variations_and_those_of_the_options(
    run_in: RunIn, omni: "OmniServer", tmp_path: Path
) -> None:
    rows = [
        {"prompt": "a fox", "size": "128x64", "count": 2},
        {"prompt": "an {elk|owl}", "wildcards": True},
        {"prompt": "a bear", "sweep": {"seed": [70, 80]}},
        {"prompt": "a hare", "sweep": {"sead": [1]}},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ("--seed", "5", "--filename", "animal", "--output-format", "webp")
    result = run_in("batch", str(tmp_path / "rows.jsonl"), *options, "--json", url=omni.url)
    assert result.exit_code == 1
    assert "line 4 refused: sweep has 'sead'" in result.stderr
    made = sorted((each["prompt"], each["seed"], each["line"]) for each in objects(result))  # type: ignore[type-var]
    assert made == [
        *(("a bear", 70, 3), ("a bear", 80, 3), ("a fox", 5, 1), ("a fox", 6, 1)),
        *(("an elk", 7, 2), ("an owl", 7, 2)),
    ]
    names = [path.name for path in sorted((tmp_path / "made").glob("*.webp"))]
    assert names == [f"animal_{number}.webp" for number in range(1, 7)]


def test_a_dry_run_of_a_file_checks_it_and_sends_nothing(
    run_in: RunIn, omni: "OmniServer", tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("prompt,count\na fox,3\nan owl,\n", encoding="utf-8")
    result = run_in("batch", str(tmp_path / "rows.csv"), "--sweep", "steps=2,4", "--dry-run", url=omni.url)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("8 images, about ")
    assert omni.requests == []


def test_a_reader_that_is_gone_costs_no_image_in_progress(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a 🦊\n" * 8, encoding="utf-8")
    size = ("--width", "64", "--height", "64")
    command = ("batch", "prompts.txt", "--json", "--demo", "--output-dir", "made", *size)
    with subprocess.Popen(
        [sys.executable, "-m", "vllm_image_mcp", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        messages = run.stderr.read().decode()
    assert run.returncode == 1
    assert "Traceback" not in messages
    assert "To resume: vllm-image-mcp resume batch_" in messages
    generated = int(messages.partition(" generated, 0 failed")[0].splitlines()[-1])
    assert len(list((tmp_path / "made").glob("*.png"))) == generated > 0
