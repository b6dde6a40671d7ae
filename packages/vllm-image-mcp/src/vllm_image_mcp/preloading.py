"""Load what the first call needs, in a thread, once the host has its first answer."""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_logger = logging.getLogger(__name__)

_NEEDED: Final = (
    "vllm_image_mcp.tools.registration",
    "vllm_image_mcp.tools.arguments",
    "vllm_image_core.studio",
    "vllm_omni_client",
    "vllm_image_core.imaging.preview",
    "vllm_image_mcp.jobs.waiting",
    "vllm_image_mcp.results.batch_results",
    "vllm_image_mcp.results.found_images",
    "vllm_image_mcp.tools.expansion",
    "vllm_image_mcp.jobs.batch_tracker",
    "vllm_image_mcp.studio_factory",
    "vllm_image_mcp.output_folder",
    "httpcore",  # httpx imports it when it opens its first client
    "PIL.BmpImagePlugin",  # these five by Pillow when it opens its first image
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "concurrent.futures.thread",
)
_FOR_THE_DEMO: Final = ("vllm_omni_client.simulator", "vllm_omni_client.simulator.http.app")


def modules_needed(*, demo: bool) -> tuple[str, ...]:
    """Return the names of the modules that the first call needs, in order of import."""
    return (*_NEEDED, *(_FOR_THE_DEMO if demo else ()))


def _nothing() -> None:
    """Read nothing ahead."""


class Preloader:
    """Imports modules in a thread, so that a call can wait without blocking the event loop.

    Args:
        modules: The names of the modules.
        read: Called in the thread when they are imported, to read what the first call needs from the disk.
    """

    def __init__(self, modules: Sequence[str], read: Callable[[], object] = _nothing) -> None:
        self._modules = tuple(modules)
        self._read = read
        self._over = asyncio.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread, unless it is already started."""
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._load, args=(loop,), name="loading")
            self._thread.start()

    async def wait(self) -> None:
        """Wait until all modules are imported."""
        self.begin()
        await self._over.wait()

    def stop(self) -> None:
        """Import no further modules."""
        self._stopped.set()

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        for module in self._modules:
            if self._stopped.is_set():
                break
            try:
                importlib.import_module(module)
            except ImportError as error:  # the call that needs it reports the error
                _logger.debug("Cannot import %s: %s", module, error)
        if not self._stopped.is_set():
            self._read()
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(self._over.set)
