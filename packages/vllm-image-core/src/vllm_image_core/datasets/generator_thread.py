"""Generator thread: run one generator for all threads of a process, whatever event loops they use."""

import asyncio
from collections.abc import Mapping, Sequence

from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.datasets.image_generator import GeneratorSpec
from vllm_image_core.datasets.image_row import ImageRow


class GeneratorThread:
    """A generator on an event loop of its own, so that a process has one client and one view of its servers.

    Args:
        spec: What to build.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        self._loop = LoopThread()
        self._generator = spec.build()

    async def generate(self, rows: Sequence[Mapping[str, object]]) -> list[ImageRow | None]:
        """Generate the images of some rows, for any thread's event loop; raises what a generator raises.

        Returns:
            A row for each, in order; None for those that are finished.
        """
        return await asyncio.wrap_future(self._loop.submit(self._generate(rows)))

    def close(self) -> None:
        """Close the connections, and end the thread."""
        self._loop.close(self._generator.aclose())

    async def _generate(self, rows: Sequence[Mapping[str, object]]) -> list[ImageRow | None]:
        return list(await asyncio.gather(*map(self._generator.generate, rows)))
