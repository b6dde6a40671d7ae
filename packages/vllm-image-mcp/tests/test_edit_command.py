"""The command `edit`: any file of the person at the shell, and the same words for what cannot be."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from vllm_image_mcp.cli import main

if TYPE_CHECKING:
    from conftest import OmniServer


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


def test_a_picture_is_edited_and_its_file_named(omni: "OmniServer", tmp_path: Path, photo: Path) -> None:
    result = run(omni, tmp_path / "out", "make it night", str(photo), "--seed", "7", "--filename", "night")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(tmp_path / "out" / "night.png")
    assert "size   128x96" in result.stdout
    with Image.open(tmp_path / "out" / "night.png") as image:
        assert image.size == (128, 96)


def test_every_option_of_an_edit_reaches_the_server(omni: "OmniServer", tmp_path: Path, photo: Path) -> None:
    result = run(
        omni,
        tmp_path / "out",
        *("both", str(photo), str(photo), "--mask", str(photo), "--reference-image", str(photo)),
        *("--strength", "0.5", "--steps", "2", "--width", "64", "--height", "64"),
    )
    assert result.exit_code == 0, result.output
    assert "size   64x64" in result.stdout
    assert "steps  2" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("make it night", "gone.png"), "images: 'gone.png' cannot be read"),
        (("make it night", "http://x/y.png"), "is an address"),
        (("make it night", __file__), "is no picture that can be edited"),
        (("make it night", "PHOTO", "--layers", "3"), "reads no layers"),
        (("make it night", *["PHOTO"] * 5), "edits at most 4 pictures"),
    ],
)
def test_what_cannot_be_edited_is_a_sentence_and_exit_status_1(
    omni: "OmniServer", tmp_path: Path, photo: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [str(photo) if each == "PHOTO" else each for each in arguments]
    result = run(omni, tmp_path / "out", *given)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_an_edit_needs_a_picture(omni: "OmniServer", tmp_path: Path) -> None:
    result = run(omni, tmp_path, "make it night")
    assert result.exit_code == 2
    assert "IMAGE" in result.stderr
