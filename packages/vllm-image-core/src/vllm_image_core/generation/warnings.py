"""Surprises: what came otherwise than it was asked for, or hints at a failure that nobody has told."""

from collections.abc import Iterator

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.generation.layers import layers_asked
from vllm_image_core.imaging.duplicates import DuplicateDetector
from vllm_image_core.imaging.flat_colour import flat_colour
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.resolver import ResolvedRequest

__all__ = ["differences", "in_reply", "omitted_metadata", "suspicions"]


def in_reply(resolved: ResolvedRequest, reply: ImageGenerationReply, received: Picture) -> Iterator[str]:
    """What came otherwise than it was asked for."""
    yield from differences(resolved, received)
    for field in () if reply.receipt is None else reply.receipt.ignored_fields:
        yield f"{field} was left out: this server's release does not know it, and uses its own value."
    layers, came = layers_asked(resolved), len(reply.data)
    if layers is None and came > 1:
        yield f"The server sent {came} pictures instead of 1; the first was kept."
    if layers is not None and came != layers:
        yield f"The server sent {came} layers instead of {layers}."


def omitted_metadata(picture: Picture, resolved: ResolvedRequest, metadata: Metadata) -> Iterator[str]:
    """Only a JPEG has too little room for a long prompt."""
    room = picture.format != "jpeg" or not (metadata.prompts and metadata.json)
    if not room and recall(picture.bytes).request.prompt != resolved.prompt:
        yield "The prompts need more than the 64 KiB that a JPEG has for them: its file tells the rest."


def differences(resolved: ResolvedRequest, received: Picture) -> Iterator[str]:
    """What the picture has otherwise than it was asked for."""
    if received.size != resolved.size:
        yield f"The server sent {received.size} instead of {resolved.size}."
    if received.format != resolved.output_format:
        yield f"The server sent {received.format.upper()} instead of {resolved.output_format.upper()}."


def suspicions(received: Picture, seed: int, twins: DuplicateDetector) -> Iterator[str]:
    """What hints at a failure of the model or the server that it has not told."""
    colour = flat_colour(received)
    if colour is not None:
        looks = "all black" if colour == "#000000" else f"one flat colour, {colour}"
        yield f"The picture is {looks}: the model may have failed without telling. Look at the server's log."
    same_image = twins.seed_of(received.bytes, seed=seed)
    if same_image is not None:
        yield f"Seed {seed} gave the very same picture as seed {same_image}: the server may ignore the seed."
