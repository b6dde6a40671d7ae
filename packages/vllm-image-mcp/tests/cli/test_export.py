"""Images are exported at a shell."""

from pathlib import Path

from click.testing import CliRunner
from vllm_image_mcp.cli import main


def test_an_image_is_exported_in_the_requested_format(tmp_path: Path) -> None:
    where = ("--demo", "--output-dir", str(tmp_path / "out"))
    small = ("--width", "64", "--height", "64", "--steps", "2")
    made = CliRunner().invoke(
        main, ["generate", "a fox", "--style", "gouache", "--filename", "hero/fox", *small, *where]
    )
    assert made.exit_code == 0, made.output
    export = ["export", "hero/fox.png", "--to", str(tmp_path / "site"), "--format", "webp", *where]
    done = CliRunner().invoke(main, export)
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'site' / 'fox.webp'}\n")
    again = CliRunner().invoke(main, export)
    assert again.exit_code == 1
    assert "exists already" in again.output


def test_jpg_means_jpeg(tmp_path: Path) -> None:
    where = ("--demo", "--output-dir", str(tmp_path / "out"))
    small = ("--width", "64", "--height", "64", "--steps", "2")
    CliRunner().invoke(main, ["generate", "a fox", "--filename", "fox", *small, *where])
    done = CliRunner().invoke(main, ["export", "fox.png", "--to", str(tmp_path), "--format", "jpg", *where])
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'fox.jpg'}\n")
