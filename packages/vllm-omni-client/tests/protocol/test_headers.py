"""Headers of the caller are checked by name, and their values are never shown."""

import pytest
from pydantic import SecretStr
from vllm_omni_client import InvalidParameter
from vllm_omni_client._protocol.headers import as_secrets, check_headers, secret_parts


def test_names_are_lower_case_and_values_are_secret() -> None:
    checked = check_headers(as_secrets({"X-Team": " blue ", "Authorization": SecretStr("Basic CANARY")}))
    assert {name: value.get_secret_value() for name, value in checked.items()} == {
        "x-team": "blue",
        "authorization": "Basic CANARY",
    }
    assert "CANARY" not in repr(checked)
    assert "blue" not in repr(checked)


def test_no_headers_are_none() -> None:
    assert check_headers(as_secrets(None)) == {}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"": "CANARY"}, "'' is not the name of a header"),
        ({"X Team": "CANARY"}, "'X Team' is not the name of a header"),
        ({7: "CANARY"}, "7 is not the name of a header"),
        ({"X-Team": "CANARY\r\nX-Other: 1"}, "the value of X-Team must be a string of printable ASCII"),
        ({"X-Team": "CANARYé"}, "the value of X-Team must be"),
        ({"X-Team": 7}, "the value of X-Team must be"),
        ({"X-Team": "CANARY" * 2_000}, "the value of X-Team must be"),
        ({"Content-Length": "CANARY"}, "Content-Length is set by the client itself"),
        ({"accept-encoding": "CANARY"}, "accept-encoding is set by the client itself"),
        ("X-Team: CANARY", "must be a mapping of names to values"),
        ([("X-Team", "CANARY")], "must be a mapping of names to values"),
    ],
)
def test_an_invalid_header_is_refused_without_its_value(headers: object, said: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_headers(as_secrets(headers), parameter="extra_headers")  # type: ignore[arg-type]  # unchecked callers
    assert caught.value.message.startswith("extra_headers")
    assert said in caught.value.message
    assert "CANARY" not in caught.value.message
    assert caught.value.parameter == "extra_headers"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("Bearer abc-123", ("Bearer abc-123", "abc-123")),
        ("abc-123", ("abc-123",)),
        ("on", ()),
        ("", ()),
    ],
)
def test_the_part_after_a_scheme_is_secret_on_its_own(value: str, parts: tuple[str, ...]) -> None:
    assert secret_parts(SecretStr(value)) == parts
