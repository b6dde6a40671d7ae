"""Tracebacks in notebooks end at the caller's own line."""

import re
from collections.abc import Callable

import pytest
from vllm_omni_client import OmniClient, OmniError
from vllm_omni_client.errors import BadReply

MOST_LINES = 20


def raised(call: Callable[[], object]) -> OmniError:
    try:
        call()
    except OmniError as error:
        return error
    pytest.fail("nothing was raised")


def shown(error: OmniError) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error._render_traceback_())).split("\n")


def test_a_dead_server_is_shown_as_the_line_of_the_caller_the_message_and_the_next_step() -> None:
    client = OmniClient("http://127.0.0.1:9", max_retries=0)

    def my_study() -> object:
        return client.get_models()

    error = raised(my_study)
    lines = shown(error)

    assert error.__cause__ is not None
    assert len(lines) <= MOST_LINES
    assert not [line for line in lines if "httpx" in line or "_transport" in line]
    assert "----> return client.get_models()" in lines
    assert any(line.endswith(", in my_study") for line in lines)
    assert f"ServerUnreachable: {error.message}" in lines
    assert f"Next: {error.next_step}" in lines


def test_notes_are_shown_and_long_chains_of_callers_are_cut() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        error = BadReply("no image")
        error.add_note("This is entry 3 of the batch.")
        raise error

    lines = shown(raised(lambda: deep(50)))

    assert len(lines) <= MOST_LINES
    assert "This is entry 3 of the batch." in lines


def test_an_error_that_was_never_raised_is_shown_without_code() -> None:
    error = BadReply("no image")
    assert shown(error)[:3] == ["", "BadReply: no image", f"Next: {error.next_step}"]
