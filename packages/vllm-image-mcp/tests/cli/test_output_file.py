"""The option -o: where the image goes, in which format, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result
from vllm_image_mcp.cli.output_file import OutputFile

Run = Callable[..., Result]

FOX = ("generate", "--demo", "--width", "64", "--height", "64", "a fox")


def test_the_image_is_in_the_file_in_its_format_and_in_the_output_folder(run: Run, tmp_path: Path) -> None:
    result = run(*FOX, "-q", "-o", "fox.jpg")
    assert (result.exit_code, result.stdout) == (0, "fox.jpg\n")
    assert (tmp_path / "fox.jpg").read_bytes().startswith(b"\xff\xd8")
    [kept] = (tmp_path / "generated_images").glob("*.jpg")
    assert kept.read_bytes() == (tmp_path / "fox.jpg").read_bytes()


def test_several_images_are_numbered(run: Run, tmp_path: Path) -> None:
    result = run(*FOX, "-q", "-n", "3", "-o", "fox.png")
    assert sorted(result.stdout.splitlines()) == ["fox_1.png", "fox_2.png", "fox_3.png"]
    assert len({path.read_bytes() for path in tmp_path.glob("fox_*.png")}) == 3


def test_json_names_the_file(run: Run) -> None:
    assert json.loads(run(*FOX, "--json", "-o", "fox.png").stdout)["output_file"] == "fox.png"
    [line] = run(*FOX, "--json", "-n", "2", "-o", "fox.png").stdout.splitlines()[:1]
    assert json.loads(line)["output_file"] in {"fox_1.png", "fox_2.png"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "fox.gif"), "use a name that ends with .png, .jpg or .webp"),
        (("-o", "none/fox.png"), "there is no folder none. Create it first."),
        (("-o", "fox.png", "--output-format", "webp"), "contradict each other"),
    ],
)
def test_an_unwritable_file_is_refused_before_anything_is_generated(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = run(*FOX, *arguments)
    assert (result.exit_code, says in result.stderr) == (2, True)
    assert not (tmp_path / "generated_images").exists()


def test_numbers_sort_as_names_do(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"image")
    assert OutputFile(tmp_path / "fox.png", count=12).place(image, 1).name == "fox_02.png"


def test_a_copy_that_fails_says_where_the_image_is(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"image")
    (tmp_path / "fox.png").mkdir()
    with pytest.raises(click.ClickException, match=r"cannot be written: .*The image is .*image\.png"):
        OutputFile(tmp_path / "fox.png").place(image)
