"""Batch forecast: check a batch's requests and estimate its time and disk space before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_image_core.batch_file.request_rows import RequestRows
from vllm_image_core.batches.context import BatchContext
from vllm_image_core.batches.ingest import CheckedJobs, Source, check_requests
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.estimation.backlog import Backlog, Eta, duration
from vllm_image_core.storage.disk_space import format_size, required_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForecast:
    """What a batch will take; `str(forecast)` is "36 images, about 40 s (measured), up to 90 MB of disk".

    Attributes:
        images: How many images it has.
        eta: The time for all of them, and what that is based on.
        bytes: Disk space, with a margin, as if all were PNGs of photographs.
    """

    images: int
    eta: Eta
    bytes: int

    def __str__(self) -> str:
        noun = "image" if self.images == 1 else "images"
        seconds = self.eta.seconds
        time = "an unknown time" if seconds is None else duration(seconds)
        basis = "measured" if self.eta.measured else self.eta.basis
        return f"{self.images} {noun}, {time} ({basis}), up to {format_size(self.bytes)} of disk space"


async def forecast(context: BatchContext, source: Source | RequestRows) -> BatchForecast:
    """Check the requests of a batch and estimate it; nothing is sent or recorded.

    Raises:
        InvalidRequest: A request does not fit the model, or they are not a list.
        OmniError: The server does not report its model.
    """
    if not isinstance(source, Sequence):
        raise InvalidRequest(
            "A batch from an iterator cannot be estimated: its requests are not known yet.",
            parameter="requests",
            value=source,
            allowed="a list of requests",
        )
    jobs, backlog = CheckedJobs(), Backlog()
    async for position, job in check_requests(source, context.generator):
        jobs.add(position, job)
    for work, count in jobs.works.items():
        backlog.add(work, count)
    return BatchForecast(
        images=len(source), eta=backlog.eta(context.speeds()), bytes=required_bytes(jobs.pixels)
    )
