"""Fixtures that the tests of the whole share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
