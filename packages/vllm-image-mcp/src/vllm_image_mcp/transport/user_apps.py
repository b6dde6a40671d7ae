"""Run the application of each user, and follow changes of the users while the server runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse
from vllm_image_core.errors import ImageError

from vllm_image_mcp.openai_api.errors import reply
from vllm_image_mcp.openai_api.request_body import MOST_UPLOAD_BYTES
from vllm_image_mcp.transport.request_bodies import CompleteBodies

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.applications import Starlette

    from vllm_image_mcp.user_states import UserStates
    from vllm_image_mcp.users.user import User, Users

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 4 * 2**20
"""Limit on a request; arguments name images and never contain them."""

_READ_SECONDS: Final = 1.0
"""How often the users file is read again."""


class UserApps:
    """The applications of the users; they run until the block ends.

    Args:
        users: The users, who are replaced by those that are read.
        states: The states of the users.
        build: Returns the application of a user, who has a state.
        read: Returns the users as they are now, or raises ValueError; None if they never change.
    """

    def __init__(
        self,
        users: Users,
        states: UserStates,
        build: Callable[[User], Starlette],
        read: Callable[[], Users] | None = None,
    ) -> None:
        self._users = users
        self._states = states
        self._build = build
        self._read = read
        self._apps: dict[str, _RunningApp] = {}
        self._following: asyncio.Task[None] | None = None
        self._complaint = ""

    async def __aenter__(self) -> None:
        for user in self._users:
            await self._begin(user)
        if self._read is not None:
            self._following = asyncio.create_task(self._follow(self._read))

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await asyncio.gather(*(app.stop() for app in self._apps.values()))

    def mcp_app(self, user: User) -> App:
        """Return the application that answers a user's MCP requests."""
        return self._apps[user.name].mcp

    def openai_app(self, user: User) -> App:
        """Return the application that answers a user's requests to the OpenAI images API."""
        return self._apps[user.name].openai

    async def _begin(self, user: User) -> None:
        if user.name not in self._apps:
            app = _RunningApp(self._build(user))
            await app.start()
            self._apps[user.name] = app

    async def _follow(self, read: Callable[[], Users]) -> None:
        while True:
            await asyncio.sleep(_READ_SECONDS)
            try:
                users = await asyncio.to_thread(read)
                if tuple(users) != tuple(self._users):
                    await self._change(users)
            except (ValueError, OSError, ImageError) as error:
                if self._complaint != str(error):
                    _logger.warning("The list of users was not changed: %s", error)
                self._complaint = str(error)
            else:
                self._complaint = ""

    async def _change(self, users: Users) -> None:
        before = {user.name: user.digest for user in self._users}
        for user in users:
            self._states.admit(user)
            await self._begin(user)
        self._users.replace(users)
        after = {user.name: user.digest for user in users}
        for name, digest in before.items():
            if name not in after:
                self._states.dismiss(name)
            if after.get(name) != digest:
                self._apps[name].end_responses()
        _logger.info("The list of users has changed: there are now %d", len(after))


class _RunningApp:
    """An application with its lifespan, which runs in a task of its own.

    Attributes:
        mcp: Answers MCP requests.
        openai: Answers requests to the OpenAI images API.
    """

    def __init__(self, app: Starlette) -> None:
        self.mcp = self._with_end(CompleteBodies(app, _MOST_BYTES, _TOO_LARGE))
        self.openai = self._with_end(CompleteBodies(app, MOST_UPLOAD_BYTES, _OPENAI_TOO_LARGE))
        self._app = app
        self._revoked = asyncio.Event()
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin the lifespan, and return once requests can be answered."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready))
        await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """End the lifespan."""
        self._end.set()
        if self._task is not None:
            await self._task

    def end_responses(self) -> None:
        """End the responses in progress, whose token is no longer valid: as if their clients were gone."""
        self._revoked.set()
        self._revoked = asyncio.Event()

    def _with_end(self, app: App) -> App:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            revoked = self._revoked

            async def receive_until_revoked() -> MutableMapping[str, Any]:
                message = asyncio.ensure_future(receive())
                end = asyncio.create_task(revoked.wait())
                try:
                    await asyncio.wait((message, end), return_when=asyncio.FIRST_COMPLETED)
                    return message.result() if message.done() else {"type": "http.disconnect"}
                finally:
                    message.cancel()
                    end.cancel()

            await app(scope, receive_until_revoked, send)

        return answer

    async def _run(self, ready: asyncio.Future[None]) -> None:
        async with self._app.router.lifespan_context(self._app):
            ready.set_result(None)
            await self._end.wait()


_TOO_LARGE: Final = JSONResponse(
    {"error": f"The body is larger than {_MOST_BYTES // 2**20} MiB."}, status_code=413
)
_OPENAI_TOO_LARGE: Final = reply(
    413,
    f"The body is larger than {MOST_UPLOAD_BYTES // 2**20} MiB. Send smaller images.",
    kind="invalid_request_error",
)
