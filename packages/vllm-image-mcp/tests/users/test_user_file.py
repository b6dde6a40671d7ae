"""The users file gives the users, or what is wrong with it, and never shows a token."""

import hashlib
from pathlib import Path

import pytest
from vllm_image_core.batches.limits import Limits
from vllm_image_mcp.users.user import Users
from vllm_image_mcp.users.user_file import read_users

TOKEN = "canary-7f3a9c51e2d04b68"
OTHER = "canary-b1946ac92492d234"


def read(folder: Path, text: str) -> Users:
    file = folder / "users.toml"
    file.write_text(text, "utf-8")
    return read_users(file)


def test_users_have_names_tokens_limits_and_shares(tmp_path: Path) -> None:
    anna, bert = read(
        tmp_path,
        f"""
        [[user]]
        name = "anna"
        token = "{TOKEN}"
        images_per_hour = 100
        megapixels_in_flight = 64
        share = 2
        metrics = true

        [[user]]
        name = "bert"
        token = "{OTHER}"
        """,
    )
    assert (anna.name, anna.share, anna.reads_metrics) == ("anna", 2, True)
    assert anna.limits == Limits(images_per_hour=100, megapixels_in_flight=64)
    assert (bert.name, bert.share, bert.reads_metrics) == ("bert", 1, False)
    assert bert.limits == Limits()


@pytest.mark.parametrize("way", ["token", "token_file", "token_sha256"])
def test_a_token_is_given_as_text_in_a_file_or_as_its_hash(tmp_path: Path, way: str) -> None:
    (tmp_path / "anna.token").write_text(f"{TOKEN}\n", "utf-8")
    value = {
        "token": TOKEN,
        "token_file": "anna.token",
        "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }[way]
    users = read(tmp_path, f'[[user]]\nname = "anna"\n{way} = "{value}"')
    found = users.authenticate(f"Bearer {TOKEN}")
    assert found is not None
    assert found.name == "anna"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"must consist of \[\[user\]\] tables"),
        ("users = 1", r"must consist of \[\[user\]\] tables"),
        ("user = []", r"must consist of \[\[user\]\] tables"),
        (f'token = "{TOKEN}"\n[[user]]\nname = "a"', r"must consist of \[\[user\]\] tables"),
        (f'[[user]]\nname = "a"\ntoken = "{TOKEN}', r"is not valid TOML \(at end of document\)$"),
        (f'[[user]]\ntoken = "{TOKEN}"', r"user 1, name: Field required"),
        ('[[user]]\nname = "anna"', r"user 1: needs one of: token, token_file, token_sha256"),
        (f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\ntoken_sha256 = "{"0" * 64}"', r"user 1: needs one of"),
        (f'[[user]]\nname = "../anna"\ntoken = "{TOKEN}"', r"user 1, name: "),
        (f'[[user]]\nname = "Anna"\ntoken = "{TOKEN}"', r"user 1, name: "),
        (f'[[user]]\nname = "nul"\ntoken = "{TOKEN}"', r"nul is the name of a device on Windows"),
        ('[[user]]\nname = "anna"\ntoken = "short"', r"anna has a token that is easy to guess"),
        ('[[user]]\nname = "anna"\ntoken = "${TOKEN_OF_ANNA}"', r"anna is a placeholder"),
        ('[[user]]\nname = "anna"\ntoken_file = "missing"', r"anna .* cannot be read"),
        ('[[user]]\nname = "anna"\ntoken_sha256 = "0"', r"user 1, token_sha256: "),
        (f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\nshare = 0', r"user 1, share: "),
        (f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\nshare = nan', r"user 1, share: "),
        (f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\nimages_per_hour = "9"', r"user 1, images_per_hour: "),
        (f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\nimagesperhour = 9', r"user 1, imagesperhour: "),
        (
            f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\n[[user]]\nname = "anna"\ntoken = "{OTHER}"',
            r"each user needs a name of its own. The same: anna, anna",
        ),
        (
            f'[[user]]\nname = "anna"\ntoken = "{TOKEN}"\n[[user]]\nname = "bert"\ntoken = "{TOKEN}"',
            r"each user needs a token of its own. The same: anna, bert",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_shows_no_token(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as raised:
        read(tmp_path, text)
    shown = f"{raised.value!r} {raised.value.__cause__!r}"
    assert TOKEN not in shown
    assert OTHER not in shown


def test_a_file_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_users(tmp_path / "users.toml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_file_may_be_written_by_powershell(tmp_path: Path, encoding: str) -> None:
    for name, text in (
        ("token", f"{TOKEN}\r\n"),
        ("users.toml", '[[user]]\r\nname = "anna"\r\ntoken_file = "token"'),
    ):
        (tmp_path / name).write_bytes(text.encode(encoding))
    [anna] = read_users(tmp_path / "users.toml")
    assert anna.name == "anna"
