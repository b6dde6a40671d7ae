"""The users file applies at once: a user who is no longer in it is not served, without a restart."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http.client import IncompleteRead
from pathlib import Path
from typing import cast

import pytest
from http_process import DEADLINE_SECONDS, HttpServer, connected, content_of, text_of, write_users
from mcp.client.subscriptions import ResourcesListChanged, SubscriptionLost
from starlette.applications import Starlette
from vllm_image_mcp.transport import user_apps
from vllm_image_mcp.transport.user_apps import UserApps
from vllm_image_mcp.user_states import UserStates
from vllm_image_mcp.users.user import User, Users, digest_of

ANNA, BERT, CLEO = "anna-3d1f6a0c9b7e", "bert-51ce28d7f0a4", "cleo-9e07b2c64d18"
SMALL = {"width": 64, "height": 64}


class Served:
    """A server whose users change while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self._file = folder / "users.toml"
        write_users(self._file, {"anna": ANNA, "bert": BERT})
        self.http = HttpServer("--users-file", str(self._file), "--log-level", "INFO", folder=self.folder)

    def change(self, users: Mapping[str, str], *more: str) -> None:
        """Replace the file in one step."""
        draft = write_users(self._file.with_suffix(".new"), users, *more)
        draft.replace(self._file)

    def status(self, token: str) -> int | None:
        """The status of a request with a token; None if its user was removed while it was answered."""
        try:
            return self.http.ask(authorization=f"Bearer {token}")[0]
        except IncompleteRead:
            return None

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the change has been noticed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    if server.http.process.returncode is None:
        server.http.close()


async def test_a_removed_token_stops_working_and_so_do_its_links(served: Served) -> None:
    wanted = {"prompt": "a fox", "size": "64x64", "response_format": "url"}
    key = {"authorization": f"Bearer {ANNA}"}
    status, made = served.http.ask("POST", "/v1/images/generations", wanted, **key)
    assert status == 200, made
    link = json.loads(made)["data"][0]["url"].partition(str(served.http.port))[2]
    assert served.http.ask("GET", link)[0] == 200
    served.change({"bert": BERT})
    served.wait_until(lambda: served.status(ANNA) == 401)
    assert served.http.ask("GET", link)[0] == 404
    assert served.status(BERT) == 200


async def test_a_user_who_is_added_is_served_with_a_folder_of_their_own(served: Served) -> None:
    assert served.status(CLEO) == 401
    served.change({"anna": ANNA, "bert": BERT, "cleo": CLEO})
    served.wait_until(lambda: served.status(CLEO) == 200)
    async with connected(served.http.url, CLEO) as client:
        made = content_of(await client.call_tool("generate_image", {"prompt": "a fox", **SMALL}))
    assert Path(made["file_path"]).parent == served.folder / "users" / "cleo"


async def test_a_user_keeps_what_they_have_if_token_and_limit_change(served: Served) -> None:
    async with connected(served.http.url, ANNA) as client:
        made = content_of(await client.call_tool("generate_image", {"prompt": "a fox", **SMALL}))
    served.change({"anna": CLEO}, "images_per_hour = 2")
    served.wait_until(lambda: served.status(ANNA) == 401)
    async with connected(served.http.url, CLEO) as client:
        batch = content_of(await client.call_tool("get_batch", {"batch_id": made["batch_id"]}))
        assert batch["images_generated"] == 1
        refused = await client.call_tool("batch_generate", {"prompts": ["a", "b"], **SMALL})
    assert "The limit is 2 images an hour, with 1 already requested" in text_of(refused)


async def test_a_stream_ends_if_its_token_is_removed_but_other_streams_continue(served: Served) -> None:
    async with AsyncExitStack() as stack:
        anna = await stack.enter_async_context(listening(served.http.url, ANNA))
        bert = await stack.enter_async_context(listening(served.http.url, BERT))
        served.change({"bert": BERT})
        async with asyncio.timeout(DEADLINE_SECONDS):
            with pytest.raises(SubscriptionLost):
                await anext(aiter(anna))
        async with connected(served.http.url, BERT) as client:
            await client.call_tool("generate_image", {"prompt": "a fox", **SMALL})
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert isinstance(await anext(aiter(bert)), ResourcesListChanged)
    assert served.http.close().count("Traceback") == 0


@asynccontextmanager
async def listening(url: str, token: str) -> AsyncGenerator[AsyncIterable[object]]:
    """The changes that a client of a user hears of."""
    async with connected(url, token) as client, client.listen(resources_list_changed=True) as changes:
        yield changes


class States:
    """Takes note of who is admitted and dismissed."""

    def __init__(self) -> None:
        self.dismissed: list[str] = []
        self.changed = asyncio.Event()

    def admit(self, user: User) -> None:
        """Everybody may."""

    def dismiss(self, name: str) -> None:
        self.dismissed.append(name)
        self.changed.set()


async def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(user_apps, "_READ_SECONDS", 0.0)
    anna, bert = (
        User(name=name, digest=digest_of(token)) for name, token in (("anna", ANNA), ("bert", BERT))
    )
    users, states, seen = Users([anna, bert]), States(), list[tuple[User, ...]]()

    def read() -> Users:
        seen.append(tuple(users))
        if len(seen) <= 3:
            raise ValueError("users.toml is not valid TOML")
        return Users([anna])

    async with UserApps(users, cast("UserStates", states), lambda _: Starlette(), read):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await states.changed.wait()
    assert set(seen[:4]) == {(anna, bert)}
    assert (tuple(users), states.dismissed) == ((anna,), ["bert"])
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "The list of users was not changed: users.toml is not valid TOML"
    ]
