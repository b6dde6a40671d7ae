import io
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vllm_image_mcp.batch_file import rows
from vllm_image_mcp.cli import main


def batch(folder: Path, content: bytes, *options: str, name: str = "prompts.txt") -> Result:
    (folder / name).write_bytes(content)
    words = ["batch", "--demo", "--output-dir", str(folder / "made"), str(folder / name), *options]
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


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_may_have_commas_semicolons_or_tabs_between_its_cells(tmp_path: Path, separator: str) -> None:
    table = [["prompt", "width", "height", "cfg"], ["a fox", "64", "64.0", "1.0"], ["an owl", "64", "64", ""]]
    content = "\r\n".join(separator.join(cells) for cells in table)
    result = batch(tmp_path, b"\xef\xbb\xbf" + content.encode(), name="rows.csv")
    assert result.exit_code == 0, result.stderr
    assert made(tmp_path) == 2


def test_a_decimal_comma_is_a_number_where_semicolons_part_the_cells() -> None:
    content = b"prompt;guidance_scale\na fox;1,5\n"
    assert [row.values["guidance_scale"] for row in rows(io.BytesIO(content), "csv")] == [1.5]


@pytest.mark.parametrize(("cell", "told"), [("1.5", "is no whole number."), ("wide", "is no whole number.")])
def test_a_cell_that_is_no_number_is_told_with_its_line(tmp_path: Path, cell: str, told: str) -> None:
    content = f'prompt,width,height\n"a fox\nin the snow",64,64\nan owl,{cell},64\n'.encode()
    result = batch(tmp_path, content, name="rows.csv")
    assert f"line 4 refused: width '{cell}' {told}" in result.stderr
    assert made(tmp_path) == 1


def test_a_table_in_another_encoding_is_refused_for_that_and_not_for_its_columns(tmp_path: Path) -> None:
    result = batch(tmp_path, "prompt,width\na fox,64\n".encode("utf-16"), name="rows.csv")
    assert result.exit_code == 2
    assert "rows.csv cannot be used: its line 1 is no header; It is no text in UTF-8." in result.stderr


def test_a_json_file_is_never_taken_for_prompts(tmp_path: Path) -> None:
    result = batch(tmp_path, b'[{"prompt": "a fox"}]\n', name="rows.json")
    assert result.exit_code == 1
    assert 'line 1 refused: It is no JSON object, such as {"prompt": "a red fox"}.' in result.stderr
    assert made(tmp_path) == 0
