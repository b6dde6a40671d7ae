"""The command `edit`: any file of the person at the shell, and plain words for what is refused."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from vllm_image_mcp.cli import main

if TYPE_CHECKING:
    from conftest import OmniServer


DEADLINE_SECONDS = 60


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "anywhere" / "photo.jpg"
    path.parent.mkdir()
    file = io.BytesIO()
    Image.new("RGB", (128, 96), "#336699").save(file, "JPEG")
    path.write_bytes(file.getvalue())
    return path


def run(omni: "OmniServer", folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["edit", *arguments, "--vllm-url", omni.url, "--output-dir", str(folder)])


def test_an_image_is_edited_and_its_file_printed(omni: "OmniServer", tmp_path: Path, photo: Path) -> None:
    result = run(omni, tmp_path / "out", "make it night", str(photo), "--seed", "7", "--filename", "night")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(tmp_path / "out" / "night.png")
    assert "size   128x96" in result.stdout
    with Image.open(tmp_path / "out" / "night.png") as image:
        assert image.size == (128, 96)


def test_every_option_of_an_edit_reaches_the_server(omni: "OmniServer", tmp_path: Path, photo: Path) -> None:
    masked = run(
        omni,
        tmp_path / "out",
        *("a hat", str(photo), "--mask", str(photo), "--reference-image", str(photo)),
        *("--strength", "0.5", "--steps", "2"),
    )
    assert masked.exit_code == 0, masked.output
    assert "steps  2" in masked.stdout
    resized = run(
        omni, tmp_path / "out", "both", str(photo), str(photo), *("--width", "64", "--height", "64")
    )
    assert resized.exit_code == 0, resized.output
    assert "size   64x64" in resized.stdout


def test_boxes_polygons_and_a_ratio_can_be_given_at_the_shell(
    omni: "OmniServer", tmp_path: Path, photo: Path
) -> None:
    areas = ("--mask-box", "0,0,0.25,1; 96,0,128,96", "--mask-polygon", "40,0 60,0 50,20")
    boxed = run(omni, tmp_path / "out", "a moon", str(photo), *areas, "--mask-feather", "2")
    assert boxed.exit_code == 0, boxed.output
    with Image.open(io.BytesIO(omni.requests[0]["mask_image"][0])) as mask:
        assert (mask.size, mask.getbbox()) == ((128, 96), (0, 0, 128, 96))
    wide = run(omni, tmp_path / "out", "a forest", str(photo), "--outpaint", "16:9")
    assert wide.exit_code == 0, wide.output
    assert "size   176x96" in wide.stdout
    larger = run(omni, tmp_path / "out", "a fox", str(photo), "--upscale", "2")
    assert "Models that do: Tongyi-MAI/Z-Image-Turbo" in larger.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("make it night", "gone.png"), "IMAGE: 'gone.png' cannot be read"),
        (("make it night", "http://x/y.png"), "is a URL"),
        (("make it night", __file__), "is not an image that can be edited"),
        (("make it night", "PHOTO", "--layers", "3"), "does not support --layers"),
        (("make it night", *["PHOTO"] * 5), "edits at most 4 images"),
    ],
)
def test_an_impossible_edit_is_one_sentence_and_exit_status_1(
    omni: "OmniServer", tmp_path: Path, photo: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [str(photo) if each == "PHOTO" else each for each in arguments]
    result = run(omni, tmp_path / "out", *given)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_an_image_before_the_prompt_is_refused_with_the_right_order(
    omni: "OmniServer", tmp_path: Path, photo: Path
) -> None:
    result = run(omni, tmp_path, str(photo), "make it night")
    assert result.exit_code == 2
    assert "The prompt comes first, then the image: edit " in result.stderr
    assert omni.requests == []


def test_a_prompt_that_is_not_a_path_is_refused_for_its_own_fault(omni: "OmniServer", tmp_path: Path) -> None:
    result = run(omni, tmp_path, "x" * 5_000, "gone.png")
    assert result.exit_code == 1
    assert "'gone.png' cannot be read" in result.stderr


def test_an_edit_needs_an_image(omni: "OmniServer", tmp_path: Path) -> None:
    result = run(omni, tmp_path, "make it night")
    assert result.exit_code == 2
    assert "IMAGE" in result.stderr


@pytest.fixture
def shell(tmp_path: Path, omni: "OmniServer", photo: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, whose edit waits at the server."""
    omni.hold_after(0)
    words = ["edit", "make it night", str(photo), "--seed", "7", "--output-dir", str(tmp_path / "out")]
    command = [sys.executable, "-m", "vllm_image_mcp", *words, "--vllm-url", omni.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        omni.wait_for(1)
        yield process
    finally:
        process.kill()
        process.communicate()


def ending(shell: subprocess.Popen[str], number: int) -> None:
    """Send a signal, and wait until it has come."""
    shell.send_signal(number)
    assert shell.stderr
    heard = ""
    while "Stopping" not in heard:
        heard += shell.stderr.readline()


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_resume_finishes_an_edit_that_was_killed(
    shell: subprocess.Popen[str], omni: "OmniServer", tmp_path: Path, photo: Path
) -> None:
    shell.kill()
    shell.communicate(timeout=DEADLINE_SECONDS)
    given = photo.read_bytes()
    photo.unlink()
    omni.release()
    where = ["--output-dir", str(tmp_path / "out")]
    listed = CliRunner().invoke(main, ["batches", *where])
    again = CliRunner().invoke(main, ["resume", listed.stdout.split()[0], *where, "--vllm-url", omni.url])
    assert again.exit_code == 0, again.output
    assert [request["image"] for request in omni.requests] == [[given], [given]]
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_ctrl_c_lets_an_edit_in_progress_finish(
    shell: subprocess.Popen[str], omni: "OmniServer", tmp_path: Path
) -> None:
    ending(shell, signal.SIGINT)
    omni.release()
    printed, _ = shell.communicate(timeout=DEADLINE_SECONDS)
    [made] = (tmp_path / "out").glob("*.png")
    assert (shell.returncode, printed.splitlines()[0]) == (0, str(made))


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX system's signals")
def test_ctrl_c_twice_closes_at_once_and_says_how_to_continue(
    shell: subprocess.Popen[str], omni: "OmniServer", tmp_path: Path
) -> None:
    ending(shell, signal.SIGINT)
    shell.send_signal(signal.SIGINT)
    printed, rest = shell.communicate(timeout=DEADLINE_SECONDS)
    assert (shell.returncode, printed) == (130, "")
    assert "The image was not generated. To resume: vllm-image-mcp resume batch_" in rest
    assert list((tmp_path / "out").glob("*.png")) == []


def test_an_edit_that_the_server_refuses_is_reported_at_once_and_not_run_later(
    omni: "OmniServer", nobody: str, tmp_path: Path, photo: Path
) -> None:
    arguments = ["edit", "make it night", str(photo), "--output-dir", str(tmp_path / "out")]
    away = CliRunner().invoke(main, [*arguments, "--vllm-url", nobody])
    assert (away.exit_code, "cannot be reached" in away.stderr) == (1, True)
    omni.failures["make it night"] = (400, "no nights here")
    refused = CliRunner().invoke(main, [*arguments, "--vllm-url", omni.url])
    assert (refused.exit_code, "no nights here" in refused.stderr) == (1, True)
    dying = {"make it night": (503, "not now")}
    omni.failures.update(dying)
    busy = CliRunner().invoke(main, [*arguments, "--vllm-url", omni.url])
    assert (busy.exit_code, "not now" in busy.stderr) == (1, True)
    listed = CliRunner().invoke(main, ["batches", "--output-dir", str(tmp_path / "out")])
    assert {line.split()[3] for line in listed.stdout.splitlines()} == {"failed", "cancelled"}


@pytest.mark.parametrize(
    "address", ["https://Example.com//a.png", "HTTP://10.0.0.1/x?y=1", "data:text/plain;base64,AA//BB"]
)
@pytest.mark.parametrize("option", [(), ("--mask",), ("--reference-image",)])
def test_an_address_is_refused_as_it_was_typed(
    omni: "OmniServer", tmp_path: Path, photo: Path, address: str, option: tuple[str, ...]
) -> None:
    images = (str(photo), *option, address) if option else (address,)
    result = run(omni, tmp_path / "out", "red", *images)
    assert result.exit_code == 1
    assert f"'{address}'" in result.stderr
    assert omni.requests == []


@pytest.mark.parametrize("option", [(), ("--mask",)])
def test_the_file_url_of_a_path_is_that_path(
    omni: "OmniServer", tmp_path: Path, photo: Path, option: tuple[str, ...]
) -> None:
    address = photo.rename(photo.with_name("a photo.png")).as_uri()
    images = (str(photo.with_name("a photo.png")), *option, address) if option else (address,)
    result = run(omni, tmp_path / "out", "red", *images)
    assert result.exit_code == 0, result.output


def test_a_file_url_of_another_machine_is_refused_as_it_was_typed(omni: "OmniServer", tmp_path: Path) -> None:
    result = run(omni, tmp_path / "out", "red", "file://nas/photo.png")
    assert (result.exit_code, "'file://nas/photo.png'" in result.stderr) == (1, True)
