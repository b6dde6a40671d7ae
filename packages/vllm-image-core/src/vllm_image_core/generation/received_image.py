"""Received image: check the image of a server's reply, and write into it how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.generation.job import ResolvedJob
from vllm_image_core.generation.loaded_model import LoadedModel
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recipe import collect_facts, write_recipe
from vllm_image_core.requests.receipt import Receipt

_MOST_PIXELS_OVER: Final = 1.1
"""An image with more than this many times the requested pixels is refused without decoding it."""

_ALWAYS_TAKEN_PIXELS: Final = 4_194_304
"""An image of up to 2048x2048 is always kept, whatever was requested; a note gives its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedImage:
    """The first image of a reply.

    Attributes:
        original: The image as the server sent it.
        picture: The same with its parameters written into it.
        facts: How it was made, by name.
        receipt: What became of each parameter, confirmed by the image.
        server: The URL of the server that generated it; None if it is not known.
    """

    original: Picture
    picture: Picture
    facts: Mapping[str, object]
    receipt: Receipt
    server: str | None


def receive_image(
    job: ResolvedJob,
    reply: ImageGenerationReply,
    loaded: LoadedModel,
    metadata: Metadata,
    *,
    now: datetime,
    seconds: float,
    more: Mapping[str, object],
) -> ReceivedImage:
    """Check the first image of a reply, and write into it how it was made; slow enough for a thread.

    `seconds` is how long the reply took; `more` facts with the value None are omitted.

    Raises:
        BadPicture: It is not an image, or is much larger than what was asked for.
    """
    resolved, model, first = job.resolved, job.model.match.name, reply.data[0]
    most = max(_ALWAYS_TAKEN_PIXELS, int(_MOST_PIXELS_OVER * resolved.pixels))
    original = Picture.check(first.bytes, max_pixels=most, inspection=first.inspection)
    receipt = confirmed_receipt(job, original)
    server = reply.receipt.server or None if reply.receipt else None
    facts = collect_facts(
        resolved,
        model=model,
        now=now,
        more={
            "key": job.key,
            "server": server,
            "server_version": loaded.version_of(server),
            "seconds": round(seconds, 3),
            **more,
            "tag": job.request.tag,
            "receipt": receipt.compact(),
            **resolved.facts(),
        },
    )
    picture = write_recipe(original, resolved, model=model, facts=facts, metadata=metadata)
    return ReceivedImage(original=original, picture=picture, facts=facts, receipt=receipt, server=server)


def confirmed_receipt(job: ResolvedJob, picture: Picture) -> Receipt:
    """Return the receipt of a job, confirmed by its image."""
    receipt = job.resolved.receipt(job.request)
    return receipt.confirm(size=picture.size, output_format=picture.format)
