from pathlib import Path

from click.testing import CliRunner, Result
from vllm_image_mcp.cli import main


def batch(folder: Path, content: bytes, *options: str) -> Result:
    (folder / "prompts.txt").write_bytes(content)
    words = ["batch", "--demo", "--output-dir", str(folder / "made"), str(folder / "prompts.txt"), *options]
    return CliRunner().invoke(main, words)


def made(folder: Path) -> int:
    return len(list((folder / "made").glob("*.png")))


def test_i10_bad_lines_are_listed_with_their_numbers_and_the_others_are_made(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa fox\r\n\r\na \x00 hare\r\n" + b"x" * 30_000 + b"\r\na bear\r\n"
    result = batch(tmp_path, content, "--width", "64", "--height", "64")
    assert result.exit_code == 1
    assert "line 3 refused: The prompt has a character that is no text: U+0000 at 2." in result.stderr
    assert "line 4 refused: The prompt has 30000 characters; at most 20000 are allowed." in result.stderr
    assert "2 made, 0 failed" in result.stderr
    assert made(tmp_path) == 2


def test_i10_a_line_of_many_megabytes_is_refused_without_being_repeated(tmp_path: Path) -> None:
    result = batch(tmp_path, b"x" * 20_000_000 + b"\na fox\n", "--width", "64", "--height", "64")
    assert "line 1 refused: The prompt has 20000000 characters" in result.stderr
    assert len(result.output) < 2_000
    assert made(tmp_path) == 1


def test_i10_an_option_that_fits_no_line_is_told_once(tmp_path: Path) -> None:
    result = batch(tmp_path, b"a fox\n" * 12, "--width", "1000")
    assert result.exit_code == 1
    [told] = result.stderr.splitlines()
    assert told.startswith(
        "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more refused: Width 1000 is not a multiple"
    )
