"""A turnstile: all pass side by side, but for who has to be alone."""

import asyncio

__all__ = ["Turnstile"]


class Turnstile:
    """Lets many in at once; one who has to be alone waits until all are out, and is waited for."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = 0
        self._taken = False
        self._changed = asyncio.Event()

    async def enter(self, *, alone: bool) -> None:
        """Come in, with others or alone; whoever came in has to `leave`."""
        if alone:
            await self._enter_alone()
            return
        while self._alone or self._taken:
            await self._wait()
        self._inside += 1

    def leave(self) -> None:
        """Go out."""
        self._inside -= 1
        self._taken = False
        self._changed.set()

    async def _enter_alone(self) -> None:
        self._alone += 1
        try:
            while self._inside:
                await self._wait()
            self._taken = True
            self._inside += 1
        finally:
            self._alone -= 1
            self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
