"""File names: built from time and prompt, or given and checked."""

import unicodedata
from datetime import datetime

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.storage.filename import automatic_stem, check_filename, fold_name, is_subfolder

NOON = datetime(2026, 2, 18, 14, 30, 22)  # noqa: DTZ001 - file names carry local time


def test_an_automatic_name_has_the_date_the_time_and_the_start_of_the_sha256_of_the_prompt() -> None:
    # printf 'a red fox in the snow' | sha256sum
    assert automatic_stem("a red fox in the snow", NOON) == "img_20260218_143022_b9c4c4"


def test_an_automatic_name_can_be_made_from_any_prompt() -> None:
    names = {automatic_stem(prompt, NOON) for prompt in ("", "日本", "\ud800", "\0", "x" * 100_000)}
    assert len(names) == 5
    assert all(name.isascii() and len(name) == len("img_20260218_143022_a1b2c3") for name in names)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("fox", "fox"),
        ("fox.png", "fox"),
        ("fox.PNG", "fox"),
        ("fox.jpg", "fox"),
        ("fox.jpeg", "fox"),
        ("fox.webp", "fox"),
        ("fox.txt", "fox.txt"),
        ("fox.exe", "fox.exe"),
        ("fox v1.5", "fox v1.5"),
        ("a..b", "a..b"),
        ("Ein Fuchs im Schnee", "Ein Fuchs im Schnee"),
        ("雪の中の狐.png", "雪の中の狐"),
        ("fox-~2", "fox-~2"),
        ("🦊", "🦊"),
        ("console", "console"),
        ("com10", "com10"),
        ("x" * 120, "x" * 120),
    ],
)
def test_an_image_extension_is_removed_from_a_plain_name(filename: str, stem: str) -> None:
    assert check_filename(filename) == stem


def test_an_empty_name_is_refused() -> None:
    assert check_filename(None) is None


def test_unicode_forms_of_a_name_are_one_name() -> None:
    name = "Füchse"
    assert check_filename(unicodedata.normalize("NFD", name)) == check_filename(name) == name
    assert check_filename("\uff46\uff4f\uff58") == "fox"


@pytest.mark.parametrize(
    "filename",
    [
        "",
        " ",
        "\u3000",
        ".",
        "..",
        "...",
        "../x",
        "..\\x",
        "a/../../b",
        "/etc/x",
        "//srv/s",
        "C:\\x",
        "C:x",
        "\\\\srv\\s",
        "\\\\?\\C:\\x",
        "x\0.png",
        "\0",
        "x\n.png",
        "x\x7f",
        "x\x1b[31m",
        "\u202egnp.exe",
        "x\u200b",
        "x\u2028y",
        "x\ud800",
        "x\ufeff",
        "\uff0e\uff0e\uff0fx",
        "\uff0e\uff0e",
        "a\uff0fb",
        "a\uff3cb",
        "C\uff1ax",
        "CON",
        "con",
        "nul.png",
        "NUL .png",
        "aux.tar.gz",
        "COM1",
        "com¹",
        "LPT9.txt",
        "CONIN$",
        "x.",
        "x..png",
        "x ",
        "x .png",
        " x",
        "\tx",
        "x:ads",
        "x.png:Zone.Identifier",
        "-rf",
        "~root",
        "~",
        ".hidden",
        ".png",
        "a*b",
        "a?b",
        'a"b',
        "a<b",
        "a|b",
        "x" * 121,
        "x" * 300,
        "é" * 61,
        "\ufdfa" * 20,  # one character that NFKC turns into eighteen
    ],
)
def test_a_name_that_is_not_plain_on_every_system_is_refused(filename: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_filename(filename)
    error = caught.value
    assert error.parameter == "filename"
    assert error.value == filename
    assert "a plain name of 1 to 120 bytes" in error.message
    assert error.message.isprintable()
    assert len(error.message) < 500


def test_a_name_that_this_system_cannot_write_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_filename("狐") == "狐"

    def encode_as_ascii(path: str) -> bytes:
        return path.encode("ascii")

    monkeypatch.setattr("os.fsencode", encode_as_ascii)
    with pytest.raises(InvalidRequest, match="filenames on this system cannot have"):
        check_filename("狐")


def test_a_name_of_300_characters_is_refused_with_its_length_and_the_limit() -> None:
    with pytest.raises(InvalidRequest, match=r"has 300 characters\. Allowed: a plain name of 1 to 120 bytes"):
        check_filename("x" * 300)


@pytest.mark.parametrize("filename", [7, True, b"fox", ["fox"]])
def test_a_name_that_is_not_text_is_refused(filename: object) -> None:
    with pytest.raises(InvalidRequest, match="is not a string"):
        check_filename(filename)  # pyright: ignore[reportArgumentType] -- what an unchecked caller may pass


@pytest.mark.parametrize("filename", ["IMG_20260218_143022_B9C4C4", "Img_20260218_143022_b9c4c4_2.PNG"])
def test_a_name_like_an_automatic_one_is_put_in_lower_case(filename: str) -> None:
    assert check_filename(filename) == filename.removesuffix(".PNG").lower()


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("Fox.png", "fox.PNG"),
        ("F\u00fcchse", "FU\u0308CHSE"),
        ("stra\u00dfe", "STRASSE"),
        ("\u03c3", "\u03c2"),
    ],
)
def test_names_that_differ_in_case_or_form_fold_to_the_same_name(name: str, twin: str) -> None:
    assert fold_name(name) == fold_name(twin)
    assert fold_name(name) != fold_name(name + "_2")


@pytest.mark.parametrize(
    "filename",
    ["CON", "nul.png", "COM1", "com\u00b9.txt", "x.", "x ", "x:ads", "-x", "~x", "CONOUT$", "aux.tar.gz"],
)
def test_f04_a_name_that_some_system_reserves_is_refused_on_all(filename: str) -> None:
    with pytest.raises(InvalidRequest):
        check_filename(filename)


def test_f05_wide_dots_and_slashes_are_treated_as_plain_ones() -> None:
    for name in ("\uff0e\uff0e\uff0fx", "a\uff0fb", "\uff0e\uff0e", "C\uff1ax"):
        with pytest.raises(InvalidRequest):
            check_filename(name)


@pytest.mark.parametrize(
    ("filename", "stem"),
    [
        ("hero/left.webp", "hero/left"),
        ("hero\\left.webp", "hero/left"),
        ("a/b/c/d", "a/b/c/d"),
        ("H\uff45ro/x", "Hero/x"),
        ("2026/img_20260218_143022_B9C4C4.png", "2026/img_20260218_143022_b9c4c4"),
    ],
)
def test_a_name_may_be_in_folders_with_the_separators_of_any_system(filename: str, stem: str) -> None:
    assert check_filename(filename) == stem
    assert check_filename(stem) == stem


@pytest.mark.parametrize(
    ("filename", "fault"),
    [
        ("../fox", "leads out of the output folder"),
        ("hero/../../fox", "leads out of the output folder"),
        ("/etc/fox", "is an absolute path"),
        ("\\\\srv\\fox", "is an absolute path"),
        ("C:\\fox", "has a character that is not allowed in filenames"),
        ("hero//fox", "is empty"),
        ("hero/", "is empty"),
        ("./fox", "begins or ends with a character"),
        (".git/fox", "begins or ends with a character"),
        ("hero./fox", "begins or ends with a character"),
        ("nul/fox", "is reserved by Windows"),
        ("hero/con.png", "is reserved by Windows"),
        ("Rejected/fox", "is in the folder Rejected, which has another use"),
        ("a/" * 9 + "fox", "is in 9 folders; at most 8 are allowed"),
        ("x" * 121 + "/fox", "has 121 bytes"),
    ],
)
def test_folders_that_lead_elsewhere_or_have_another_use_are_refused(filename: str, fault: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_filename(filename)
    assert fault in caught.value.message


def test_a_folder_is_checked_like_the_folders_of_a_name() -> None:
    assert is_subfolder("hero/left")
    assert not any(map(is_subfolder, ("", "..", "/etc", "rejected", "a//b", ".git")))
