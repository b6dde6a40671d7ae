"""Keep the state of each user: a folder and batches of their own, on servers that all users share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from vllm_image_mcp.state import State
from vllm_image_mcp.telemetry.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vllm_image_core.fleet.fleet import Fleet

    from vllm_image_mcp.server_key import ServerKey
    from vllm_image_mcp.settings import Settings
    from vllm_image_mcp.telemetry.metrics import Metrics
    from vllm_image_mcp.users.user import User, Users

_FOLDER: Final = "users"
"""The folder of the users' folders, in the output folder."""


class UserStates:
    """The states of all users of one process.

    Nothing leads from one user's state to another's: each has an output folder, an index, a journal and a
    tracker of its own. They share one fleet, with its connections and its queue.

    Args:
        settings: The settings of the server.
        users: The users.
        metrics: The metrics of the process.
        key: The secret of the output folder, from which each user's keys are derived.

    Attributes:
        folders: The output folder of each user, by name.
    """

    def __init__(self, settings: Settings, users: Users, metrics: Metrics, key: ServerKey) -> None:
        self._fleet: Fleet | None = None
        self._key = key
        self._metrics = metrics
        self._states: dict[str, State] = {}
        self.folders: dict[str, Path] = {}
        if len(users) == 1 and not next(iter(users)).name:
            self._add("", State(settings, wired=True))
            return
        from vllm_image_mcp.studio_factory import create_shared_servers  # noqa: PLC0415 - stdio needs no fleet of several users

        self._base = State(settings)
        self._user_count = len(users)
        self._servers = create_shared_servers(settings, self._base.folder.path, self._base.registry)
        self._fleet = self._servers.fleet
        metrics.watch(self._fleet.queue)
        for user in users:
            self.admit(user)

    def admit(self, user: User) -> None:
        """Give a named user a state, or update the user's limits and share."""
        state = self._states.get(user.name)
        if state is None:
            base = self._base
            state = State(
                base.settings.model_copy(update={"output_dir": base.folder.path / _FOLDER / user.name}),
                wired=True,
                shared=self._servers.of_user(user.name, share=user.share),
                registry=base.registry,
                limits=user.limits,
                users=self._user_count,
            )
            self._add(user.name, state)
            return
        state.set_limits(user.limits)
        self._servers.fleet.queue.flow(user.name).share = user.share
        self.folders[user.name] = state.folder.path

    def dismiss(self, name: str) -> None:
        """Stop serving images of somebody who is no longer a user; batches in progress continue."""
        self.folders.pop(name, None)

    def _add(self, name: str, state: State) -> None:
        state.observer = Observer(self._metrics, name)
        state.question_key = self._key.derive(f"questions to {name}")
        self._states[name] = state
        self.folders[name] = state.folder.path

    def __iter__(self) -> Iterator[State]:
        return iter(self._states.values())

    def of(self, user: User) -> State:
        """Return the state of a user."""
        return self._states[user.name]

    async def drain(self, seconds: float) -> None:
        """Start no more images, and give those in progress some time; the batches can be resumed."""
        await asyncio.gather(*(state.drain(seconds) for state in self))

    async def aclose(self) -> None:
        """Close the connections to the servers; the states are closed by the servers that use them."""
        if self._fleet is not None:
            await self._fleet.aclose()
