"""Ray engine: generate the images of a source's rows with Ray Data, through one client on each node."""

import math
import re
import secrets
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

from vllm_image_core.datasets.image_generator import GeneratorSpec, ImageGenerator
from vllm_image_core.datasets.image_row import ImageRow, pyarrow, rows_of_table
from vllm_image_core.datasets.source import RowSource
from vllm_image_core.errors import ImageError, MissingPackage, RunStopped
from vllm_image_core.text import one_line

_MOST_CALLS: Final = 10_000
"""Calls of a node's generator that may wait at once; its own limit holds them back."""

_ROWS: Final = (8, 256)
"""Minimum and maximum rows in a batch. Ray keeps four batches of each worker in progress."""

_BLOCK_ROWS: Final = 128
"""Minimum rows that a worker takes together; the rows of each block are recorded when it is done."""

_OWN_ERROR: Final = re.compile(r"vllm_image_core\.errors\.\w+: (.+)")
_COLOUR: Final = re.compile(r"\x1b\[\d+m")

_OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Memory for rows if Ray is started here: they hold no images."""


def run_on_ray(
    source: RowSource, spec: GeneratorSpec, *, address: str | None
) -> Iterator[Sequence[ImageRow]]:
    """Generate the images of a source with Ray Data, and yield rows about those that were not finished.

    Args:
        source: The rows.
        spec: The generator of the whole run. Each node takes its share of what may be in flight.
        address: The cluster's address, such as "auto"; None starts Ray on this machine, unless it runs.

    Raises:
        MissingPackage: Ray is not installed.
        RunStopped: The run has failed; it can be continued.
    """
    ray = import_ray()
    started_here = not ray.is_initialized()
    try:
        if started_here:
            memory = _OBJECT_STORE_BYTES if address is None else None
            ray.init(
                address=address, object_store_memory=memory, include_dashboard=False, log_to_driver=False
            )
            # The run reports its own progress.
            ray.data.DataContext.get_current().enable_progress_bars = False
        nodes = max(1, sum(bool(node["Alive"]) for node in ray.nodes()))
        share = spec.share(nodes)
        rows = min(max(_ROWS[0], math.ceil(share.max_in_flight / 2)), _ROWS[1])
        # The generator of an earlier run of this driver may still be there: it has other servers.
        # A worker hands on the rows of a block when all of them are done, so blocks are small.
        blocks = _dataset(ray, source).repartition(target_num_rows_per_block=max(_BLOCK_ROWS, 4 * rows))
        found = blocks.map_batches(
            _NodeWorker,
            fn_constructor_kwargs={"spec": share, "run": secrets.token_hex(8)},
            batch_size=rows,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=nodes),
            num_cpus=0.25,
        )
        for table in found.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield rows_of_table(table)
    except ImageError:
        raise
    except Exception as error:  # a boundary: Ray passes errors of its workers on in its own classes
        raise RunStopped(_reason(str(error))) from error
    finally:
        if started_here:
            ray.shutdown()


def import_ray() -> Any:  # noqa: ANN401 - optional: not there for type checkers everywhere
    """Return the module ray, with ray.data.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise MissingPackage("ray", needed_for='it is the engine "ray"', extra="ray") from error


class _NodeGenerator:
    """The only client of a node: it has the connections, and knows which servers are healthy."""

    def __init__(self, spec: GeneratorSpec) -> None:
        self._generator: ImageGenerator = spec.build()

    async def generate(self, batch: Any) -> Any:  # noqa: ANN401 - a pyarrow table
        """Generate the images of a batch of rows; the images stay in this process."""
        return await self._generator(batch)


class _NodeWorker:
    """A worker of Ray Data, which passes its batches on to the generator of its node."""

    def __init__(self, spec: GeneratorSpec, run: str) -> None:
        self._ray = import_ray()
        self._spec = spec
        node = self._ray.get_runtime_context().get_node_id()
        self._name = f"vllm-image-{run}-{node}"
        self._node = node
        self._actor = self._find()

    async def __call__(self, batch: Any) -> Any:  # noqa: ANN401 - a pyarrow table
        """Generate the images of a batch; if the node's generator has died, try again, without any twice."""
        while True:
            actor = self._actor
            try:
                return await actor.generate.remote(batch)
            except self._ray.exceptions.RayActorError:
                if actor is self._actor:
                    self._actor = self._find()

    def _find(self) -> Any:  # noqa: ANN401 - Ray's
        """Return the generator of this node, which the first worker creates."""
        strategy = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        options = {
            "name": self._name,
            "get_if_exists": True,
            "num_cpus": 0,
            "max_concurrency": _MOST_CALLS,
            "scheduling_strategy": strategy(self._node, soft=False),
        }
        return self._ray.remote(_NodeGenerator).options(**options).remote(self._spec)


def _dataset(ray: Any, source: RowSource) -> Any:  # noqa: ANN401 - Ray's
    if source.library == "ray":
        return source.engine
    if source.path is not None:
        return getattr(ray.data, f"read_{source.format}")(source.path)
    return ray.data.from_arrow([pyarrow().table(each) for each in source.tables()])


def _reason(text: str) -> str:
    """Return the message of this package's error inside one of Ray's, which has it in a traceback."""
    found = _OWN_ERROR.findall(text)
    return found[-1] if found else f"Ray has stopped: {one_line(_COLOUR.sub('', text))}"
