"""A user is found by the token of a request."""

import hmac

import pytest
from pydantic import SecretStr
from vllm_image_mcp.users.user import User, Users, digest_of

TOKENS = {"anna": "a" * 32, "bert": "b" * 32, "cleo": "c" * 32}


@pytest.fixture
def users() -> Users:
    return Users(User(name=name, digest=digest_of(token)) for name, token in TOKENS.items())


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_token_finds_its_user(users: Users, name: str, scheme: str) -> None:
    found = users.authenticate(f"{scheme} {TOKENS[name]}")
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer aaaa",
        f"Basic {'a' * 32}",
        "a" * 32,
        f"Bearer {'a' * 33}",
        "Bearer \udc80",
    ],
)
def test_any_other_text_finds_nobody(users: Users, authorization: str) -> None:
    assert users.authenticate(authorization) is None


def test_every_token_is_compared_in_constant_time(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, expected: bytes) -> bool:
        compared.append(expected)
        return given == expected

    monkeypatch.setattr(hmac, "compare_digest", compare)
    users.authenticate(f"Bearer {TOKENS['anna']}")
    assert compared == [digest_of(token) for token in TOKENS.values()]


def test_the_only_user_needs_no_token_unless_one_is_set() -> None:
    assert Users.only(None).authenticate("") is not None
    assert not Users.only(None).need_token
    guarded = Users.only(SecretStr("a-token"))
    assert guarded.need_token
    assert guarded.authenticate("") is None
    assert guarded.authenticate("Bearer a-token") is not None


def test_no_repr_shows_a_token_or_its_hash(users: Users) -> None:
    shown = repr(list(users))
    assert all(token not in shown for token in TOKENS.values())
    assert "digest" not in shown
