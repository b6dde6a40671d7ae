import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from vllm_image_core.batch_file import FileFormat, UnreadableFile, rows
from vllm_image_mcp.cli import main


def batch(folder: Path, content: bytes, *options: str, name: str = "prompts.txt") -> Result:
    (folder / name).write_bytes(content)
    words = ["batch", "--demo", "--output-dir", str(folder / "made"), str(folder / name), *options]
    return CliRunner().invoke(main, words)


def made(folder: Path) -> int:
    return len(list((folder / "made").glob("*.png")))


def test_i10_bad_lines_are_listed_with_their_numbers_and_the_others_are_generated(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa fox\r\n\r\na \x00 hare\r\n" + b"x" * 30_000 + b"\r\na bear\r\n"
    result = batch(tmp_path, content, "--width", "64", "--height", "64")
    assert result.exit_code == 1
    assert "line 3 refused: The prompt has a character that is not allowed: U+0000 at 2." in result.stderr
    assert "line 4 refused: The prompt has 30000 characters; at most 20000 are allowed." in result.stderr
    assert "2 generated, 0 failed" in result.stderr
    assert made(tmp_path) == 2


def test_i10_a_line_of_many_megabytes_is_refused_without_being_repeated(tmp_path: Path) -> None:
    result = batch(tmp_path, b"x" * 20_000_000 + b"\na fox\n", "--width", "64", "--height", "64")
    assert "line 1 refused: The prompt has 20000000 characters" in result.stderr
    assert len(result.output) < 2_000
    assert made(tmp_path) == 1


def test_i10_an_option_that_fits_no_line_is_reported_once(tmp_path: Path) -> None:
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


def test_a_decimal_comma_is_accepted_if_semicolons_separate_the_cells() -> None:
    content = b"prompt;guidance_scale\na fox;1,5\n"
    assert [row.values["guidance_scale"] for row in rows(io.BytesIO(content), "csv")] == [1.5]


@pytest.mark.parametrize("cell", ["1.5", "wide"])
def test_a_cell_that_is_not_a_number_is_refused_with_its_line(tmp_path: Path, cell: str) -> None:
    content = f'prompt,width,height\n"a fox\nin the snow",64,64\nan owl,{cell},64\n'.encode()
    result = batch(tmp_path, content, name="rows.csv")
    assert f"line 4 refused: width '{cell}' is not an integer." in result.stderr
    assert made(tmp_path) == 1


def read(content: str | bytes, kind: FileFormat = "csv") -> dict[int, object]:
    """What each line gives: its prompt, or the first words of its refusal."""
    data = content.encode() if isinstance(content, str) else content
    found = rows(io.BytesIO(data), kind)
    return {row.line: (row.refusal or "")[:20] or row.values["prompt"] for row in found}


UNCLOSED = "This row opens a quo"
BEHIND = "Text follows the clo"
LIKE_ROWS = "A quoted cell of thi"
STRAY = "A cell that does not"
IN_DOUBT = "It may be part of th"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ('prompt,seed\n"a fox,1\nan owl,2\n', {2: UNCLOSED, 3: "an owl"}),
        ('seed,prompt\n1,"a fox\n2,an owl\n3,a hare\n', {2: UNCLOSED, 3: "an owl", 4: "a hare"}),
        ('prompt,seed\n"a fox,1\nan owl,2\n"a hare",3\n', {2: BEHIND, 3: "an owl", 4: "a hare"}),
        ('prompt,seed\n"a fox,1\nan owl,2\na hare",3\n', {2: LIKE_ROWS, 3: "an owl", 4: STRAY}),
        ('seed;prompt\n1;"a fox\n2;an owl"\n3;a hare\n', {2: LIKE_ROWS, 3: STRAY, 4: "a hare"}),
        ('prompt,tag\n"a fox,red\nan owl,white\na hare",x\n', {2: LIKE_ROWS, 3: "an owl", 4: STRAY}),
        ('prompt\n"a fox\nan owl\na hare\n', {2: UNCLOSED, 3: IN_DOUBT, 4: IN_DOUBT}),
        ('prompt\n"a fox\nan owl\n"a hare"\nan elk\n', {2: BEHIND, 3: IN_DOUBT, 4: "a hare", 5: "an elk"}),
        ('prompt,seed\n"a "big" fox\nin deep snow",1\nan owl,2\n', {2: BEHIND, 3: STRAY, 4: "an owl"}),
        ('prompt,seed\n"a "big" fox",1\nan owl\n', {2: BEHIND, 3: "an owl"}),
        ('prompt,seed\n"a fox" ,1\nan owl,2\n', {2: BEHIND, 3: "an owl"}),
        ('prompt,seed\n"a ""big"" fox\nin the snow",1\n', {2: 'a "big" fox\nin the snow'}),
        ('seed,prompt\n1,"a fox\n\nin the snow"\n2,an owl\n', {2: "a fox\n\nin the snow", 5: "an owl"}),
        ('prompt,tag\n"a fox\nat night","x\ny"\n', {2: "a fox\nat night"}),
        (
            'prompt,seed\n"a 3"" nail",1\na "red" fox,2\na 3" nail,3\n',
            {2: 'a 3" nail', 3: 'a "red" fox', 4: STRAY},
        ),
        ('prompt, seed\n1 fox, 1\n "a fox, red", 2\n', {2: "1 fox", 3: "a fox, red"}),
    ],
)
def test_a_csv_row_with_mismatched_quotes_is_refused_without_taking_others_with_it(
    table: str, found: dict[int, str]
) -> None:
    assert read(table) == found


def test_a_line_that_is_not_utf8_within_a_quoted_cell_refuses_the_complete_row() -> None:
    content = b'prompt,seed\n"a fox\nin a for\xeat\nat night",1\nan owl,2\n'
    assert read(content) == {2: "It is not UTF-8 text", 5: "an owl"}


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (",prompt,seed\n0,a fox,1.0\n1,an owl,\n", [{"prompt": "a fox", "seed": 1}, {"prompt": "an owl"}]),
        ("Unnamed: 0,prompt,seed\n7,a fox,1\n", [{"prompt": "a fox", "seed": 1}]),
        ('sep=;\nprompt;cfg\n"a fox; red";1,5\n', [{"prompt": "a fox; red", "guidance_scale": 1.5}]),
        ('"sep=,"\r\nprompt,cfg\r\na fox,1.5\r\n', [{"prompt": "a fox", "guidance_scale": 1.5}]),
        ("sep=\t\nprompt\tseed\na fox, red\t3\n", [{"prompt": "a fox, red", "seed": 3}]),
        ("prompt|seed\na fox, red|3\n", [{"prompt": "a fox, red", "seed": 3}]),
        ("prompt,seed,\na fox,1,\n", [{"prompt": "a fox", "seed": 1}]),
    ],
)
def test_additions_of_pandas_and_excel_to_a_table_are_understood(
    table: str, values: list[dict[str, object]]
) -> None:
    assert [row.values for row in rows(io.BytesIO(table.encode()), "csv")] == values


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("prompt\nein Füchslein\n", "csv"),
        ('{"prompt": "ein Füchslein"}\n', "jsonl"),
        ("ein Füchslein", "text"),
    ],
)
def test_a_file_is_read_in_the_encoding_of_its_byte_order_mark(
    encoding: str, content: str, kind: FileFormat
) -> None:
    assert list(read(content.encode(encoding), kind).values()) == ["ein Füchslein"]


def test_a_byte_order_mark_inside_a_concatenated_file_is_not_part_of_a_prompt() -> None:
    line = '\ufeff{"prompt": "a fox"}\n'
    assert read(line * 2, "jsonl") == {1: "a fox", 2: "a fox"}
    assert read("\ufeffa fox\n\ufeffan owl\n", "text") == {1: "a fox", 2: "an owl"}


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (
            "prompt\na fox\n".encode("utf-16-le"),
            "rows.csv",
            "it seems to be UTF-16 without a byte order mark",
        ),
        ('{"prompt": "a fox"}'.encode("utf-16-be"), "rows.jsonl", "save it as UTF-8"),
        ("狐狸\n猫\n".encode("utf-16-le"), "prompts.txt", "it seems to be UTF-16"),
        (b"PK\x03\x04a fox\nan owl\n", "rows.xlsx", "it is a ZIP archive or an Excel workbook, not text"),
        (
            "prompt,größe\na fox,1\n".encode("cp1252"),
            "rows.csv",
            "line 1 is not a header; It is not UTF-8 text",
        ),
        (b"sep=#\nprompt#seed\n", "rows.csv", "its line 1 sets the separator to '#'; use , ; | or a tab"),
        (b'"prompt,seed\na fox,1\n', "rows.csv", "its line 1 is not a header; This row opens"),
        (b"a fox,1\n", "rows.csv", "the first line must name the columns"),
        (
            b'[{"prompt": "a fox"},\n{"prompt": "an owl"}\n',
            "rows.json",
            "line 3: the array is not closed",
        ),
        (b'[{"prompt": "a fox"} {"prompt": "an owl"}]', "rows.json", "line 1: a comma is missing"),
        (
            b'{\n"prompt": "a fox",\n"seed":\n}\n{"prompt": "an owl"}\n',
            "rows.json",
            "line 4: Expecting value",
        ),
        (b'[\n{"prompt": "a fox"}\n]\n', "prompts.txt", "read it as jsonl"),
    ],
)
def test_an_unreadable_file_is_refused_with_what_to_do_and_none_of_it_is_generated(
    tmp_path: Path, content: bytes, name: str, why: str
) -> None:
    result = batch(tmp_path, content, name=name)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not (tmp_path / "made").exists()


def test_a_json_array_and_objects_over_several_lines_are_read_with_their_lines() -> None:
    array = '[{"prompt": "a fox"},\n {"prompt":\n "an owl"},\n 3, {"prompt": "a hare", "prompt": "an elk"}]'
    with pytest.raises(UnreadableFile, match="line 4: it sets 'prompt' twice"):
        read(array, "jsonl")
    assert read(array.replace('"prompt": "an elk"', '"seed": 4'), "jsonl") == {
        1: "a fox",
        2: "an owl",
        4: "a hare",
    }
    assert read('{\n "prompt": "a fox",\n "seed": 1\n}\n{"prompt": "an owl"}\n', "jsonl") == {
        1: "a fox",
        5: "an owl",
    }


def test_an_array_longer_than_any_line_is_read() -> None:
    content = json.dumps([{"prompt": f"fox {number}"} for number in range(60_000)])
    assert len(content) > 1_100_000
    assert sum(row.refusal is None for row in rows(io.BytesIO(content.encode()), "jsonl")) == 60_000


@pytest.mark.parametrize(
    "line",
    ['{"prompt": "a fox", "prompt": "an owl"}', '{"prompt": "a fox", "steps": 2, "num_inference_steps": 3}'],
)
def test_an_object_that_gives_a_value_twice_is_refused(line: str) -> None:
    [row] = rows(io.BytesIO(line.encode()), "jsonl")
    assert "twice" in (row.refusal or "")


def test_json_is_never_a_prompt_but_words_in_braces_are() -> None:
    assert read('{"prompt": "a fox"}\n{red|blue} car\n', "text") == {
        1: "It is JSON, not a pr",
        2: "{red|blue} car",
    }


def test_a_file_from_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    words = ["batch", "-", "--demo", "--output-dir", str(tmp_path / "made"), "--format", "csv"]
    table = "prompt,width,height\n" + "a fox,64,64\n" * 2 + f"{'long ' * 2_000},64,64\n"
    result = CliRunner().invoke(main, words, input=table)
    assert result.exit_code == 0, result.stderr
    assert "3 generated, 0 failed" in result.stderr


def test_a_parquet_file_has_rows_and_refused_ones_are_listed(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    content = io.BytesIO()
    pandas.DataFrame({"prompt": ["a fox", "", "an owl"], "steps": [4, 4, 4]}).to_parquet(content)
    result = batch(tmp_path, content.getvalue(), "--width", "64", "--height", "64", name="prompts.parquet")
    assert result.exit_code == 1
    assert "row 1 refused: The prompt is empty." in result.stderr
    assert made(tmp_path) == 2


def test_a_misspelt_column_is_reported_with_the_right_name(tmp_path: Path) -> None:
    result = batch(tmp_path, b"promptt,seed\na fox,3\n", name="prompts.csv")
    assert result.exit_code == 2
    assert "'promptt' is not a parameter of an image; did you mean prompt?" in result.stderr
