"""BlockingStudio: a studio without `await`, for scripts, prompts, R and notebooks."""

import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from vllm_image_core.batches.handle import ImageBatch
from vllm_image_core.blocking.batch import BlockingBatch
from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.blocking.methods import Attribute, Blocking, forwarded, same_parameters, waiting
from vllm_image_core.fleet.server import ServerReport
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.requests.style_folder import Styles
from vllm_image_core.studio import Studio
from vllm_image_core.studio_views import ImageGrid

Value = TypeVar("Value")


def _read(name: str, get: Callable[[Studio], Value]) -> Attribute[Studio, Value]:
    return Attribute(get, getattr(Studio, name).__doc__)


class BlockingStudio(Blocking[Studio]):
    """A ``Studio`` whose methods block until they are done, with the same names, parameters and errors.

    It works in a thread of its own, so it can also be used where an event loop is running, as in a notebook.
    An interrupt (Ctrl-C, or Stop in a notebook) cancels the call. Leaving a ``with`` block, or ``close()``,
    stops running batches, which can be resumed; so does the end of the program.
    """

    @same_parameters(Studio.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of `Studio`
        loop = LoopThread()
        with ExitStack() as cleanup:
            cleanup.callback(loop.stop)
            studio = loop.call(lambda: Studio(*args, **kwargs))
            cleanup.pop_all()
        super().__init__(studio, loop)
        self._closing: Final = weakref.finalize(self, _close, loop, studio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the running batches, which can be resumed later, and close the connections to the servers."""
        if self._closing.detach():
            self._loop.close(self._wrapped.aclose())

    server_url: Attribute[Studio, str] = _read("server_url", lambda studio: studio.server_url)
    servers: Attribute[Studio, tuple[ServerReport, ...]] = _read("servers", lambda studio: studio.servers)
    styles: Attribute[Studio, Styles] = _read("styles", lambda studio: studio.styles)
    output_dir: Attribute[Studio, Path] = _read("output_dir", lambda studio: studio.output_dir)

    @waiting(Studio.generate)
    def generate(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.edit)
    def edit(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.check)
    def check(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.make)
    def make(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.recall)
    def recall(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.batches)
    def batches(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.find_batch)
    def find_batch(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.cancel_batch)
    def cancel_batch(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.find)
    def find(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.rate)
    def rate(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.export)
    def export(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.more_like)
    def more_like(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.preview)
    def preview(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.contact_sheet)
    def contact_sheet(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.xy_grid)
    def xy_grid(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.grid)
    def grid(self) -> None:
        """As in ``Studio``."""

    @forwarded(Studio.expansion)
    def expansion(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.model)
    def model(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.health)
    def health(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.gpu)
    def gpu(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.estimate)
    def estimate(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.estimate_edit)
    def estimate_edit(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.gpu_seconds)
    def gpu_seconds(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.requests_of_others)
    def requests_of_others(self) -> None:
        """As in ``Studio``."""

    @forwarded(Studio.add_server)
    def add_server(self) -> None:
        """As in ``Studio``."""

    @forwarded(Studio.set_limits)
    def set_limits(self) -> None:
        """As in ``Studio``."""

    @waiting(Studio.remove_server)
    def remove_server(self) -> None:
        """As in ``Studio``."""

    @same_parameters(Studio.batch)
    def batch(self, *args: Any, **kwargs: Any) -> BlockingBatch:  # noqa: ANN401 - those of `Studio.batch`
        """Start a batch."""
        return self._start(self._wrapped.batch(*args, **kwargs))

    @same_parameters(Studio.resume)
    def resume(self, *args: Any, **kwargs: Any) -> BlockingBatch:  # noqa: ANN401 - those of `Studio.resume`
        """Resume a batch."""
        return self._start(self._wrapped.resume(*args, **kwargs))

    @same_parameters(Studio.draw_grid)
    def draw_grid(self, batch: BlockingBatch, **limits: Any) -> ImageGrid:  # noqa: ANN401 - likewise
        """Draw the images of a batch in a grid."""
        return self._loop.wait_for(self._wrapped.draw_grid(batch._wrapped, **limits))  # noqa: SLF001 - its own

    @same_parameters(Studio.keep_best)
    def keep_best(self, batch: BlockingBatch, *args: Any, **kwargs: Any) -> tuple[GeneratedImage, ...]:  # noqa: ANN401 - likewise
        """Keep the images of a batch with the highest scores."""
        return self._loop.wait_for(self._wrapped.keep_best(batch._wrapped, *args, **kwargs))  # noqa: SLF001 - its own

    def _start(self, batch: ImageBatch) -> BlockingBatch:
        self._loop.wait_for(_started(batch))
        return BlockingBatch(batch, self._loop, studio=self)


async def _started(batch: ImageBatch) -> None:
    await batch


def _close(loop: LoopThread, studio: Studio) -> None:
    """Close a studio that nobody refers to any more."""
    with suppress(RuntimeError):  # at the end of the program, asyncio can start no more threads
        loop.close(studio.aclose())
