"""Describe how an image differs from its request, and any sign that the model failed without an error."""

from collections.abc import Iterator

from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.imaging import InspectedImage
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.imaging.duplicates import DuplicateDetector
from vllm_image_core.imaging.flat_colour import flat_colour
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.resolver import ResolvedRequest


def in_reply(resolved: ResolvedRequest, reply: ImageGenerationReply, received: Picture) -> Iterator[str]:
    """Describe how a server's reply differs from the request."""
    yield from differences(resolved, received)
    for field in () if reply.receipt is None else reply.receipt.ignored_fields:
        yield f"{field} was not sent: this server's release does not support it and uses its own value."
    if reply.receipt is not None and reply.receipt.unconfirmed_fields:
        yield (
            "Nothing indicates that this server is vLLM-Omni: seed, steps and guidance were sent, and may "
            "not have been read."
        )
    layers, count = resolved.layer_count, len(reply.data)
    if layers is None and count > 1:
        yield f"The server sent {count} images instead of 1; the first one was kept."
    if layers is not None and count != layers:
        yield f"The server sent {count} layers instead of {layers}."


def omitted_metadata(picture: Picture, resolved: ResolvedRequest, metadata: Metadata) -> Iterator[str]:
    """Describe metadata that did not fit into the file; only a JPEG has too little room for long prompts."""
    room = picture.format != "jpeg" or not (metadata.prompts and metadata.json)
    if not room and recall(picture.bytes).request.prompt != resolved.prompt:
        yield (
            "The prompts exceed the 64 KiB a JPEG can hold, "
            "so the file stores the other settings without them."
        )


def differences(resolved: ResolvedRequest, received: Picture) -> Iterator[str]:
    """Describe how the image itself differs from the request."""
    if received.size != resolved.size:
        yield f"The server sent {received.size} instead of {resolved.size}."
    if received.format != resolved.output_format:
        yield f"The server sent {received.format.upper()} instead of {resolved.output_format.upper()}."


def repeats(budget: GenerationBudget) -> Iterator[str]:
    """Describe how often a request was sent, if it was more than once."""
    if budget.attempts > 1:
        cost = f" {budget.spent} of them may have used GPU time." if budget.spent > 1 else ""
        yield f"This image took {budget.attempts} attempts.{cost}"


def suspicions(
    received: Picture, seed: int, duplicates: DuplicateDetector, inspection: InspectedImage | None = None
) -> Iterator[str]:
    """Describe any sign of a failure that the model or the server did not report.

    `inspection` is what the client found when the image arrived, if it was the client.
    """
    is_known = inspection is not None and inspection.flatness_checked
    colour = inspection.flat_colour if inspection and is_known else flat_colour(received)
    if colour is not None:
        looks = "all black" if colour == "#000000" else f"one flat colour, {colour}"
        yield f"The image is {looks}: the model may have failed without an error. Check the server's log."
    same_image = duplicates.seed_of(received.bytes, seed=seed)
    if same_image is not None:
        yield f"Seed {seed} gave exactly the same image as seed {same_image}: the server may ignore the seed."
