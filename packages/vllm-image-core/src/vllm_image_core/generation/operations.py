"""What is done otherwise for an edit than for a generation, from its check to its file."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.edit_receipt import edit_receipt
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, check_editor, resolve_edit
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.receipt import Receipt, receipt
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

__all__ = ["facts_of", "metadata_of", "read_inputs", "receipt_of", "resolve_operation"]


async def read_inputs(request: ImageRequest, profile: Profile, registry: Registry) -> ImageRequest:
    """The request with its pictures read, once for all that follows; a generation as it is.

    Raises:
        InvalidRequest: The model cannot do this edit, which is found before a picture is read; or one of its
            pictures cannot be used.
    """
    if not isinstance(request, EditRequest):
        return request
    check_editor(request, profile, registry)
    return await asyncio.to_thread(request.read)


def resolve_operation(
    request: ImageRequest, profile: Profile, registry: Registry, *, draw_seed: Callable[[], int]
) -> ResolvedRequest:
    """The checked request, a generation or an edit.

    Raises:
        InvalidRequest: It does not fit the model.
    """
    if isinstance(request, EditRequest):
        return resolve_edit(request, profile, draw_seed=draw_seed, known=registry)
    return resolve(request, profile, draw_seed=draw_seed)


def receipt_of(request: ImageRequest, resolved: ResolvedRequest) -> Receipt:
    """What was asked for beside what is sent."""
    if isinstance(request, EditRequest) and isinstance(resolved, ResolvedEdit):
        return edit_receipt(request, resolved)
    return receipt(request, resolved)


def facts_of(resolved: ResolvedRequest) -> dict[str, object]:
    """What a file tells beyond a generation's parameters."""
    return resolved.facts() if isinstance(resolved, ResolvedEdit) else {}


def metadata_of(metadata: Metadata, resolved: ResolvedRequest) -> Metadata:
    """What is written into the file: a picture that was made of others is a composite, as IPTC has it."""
    if isinstance(resolved, ResolvedEdit) and metadata.source == "trainedAlgorithmicMedia":
        return replace(metadata, source="compositeWithTrainedAlgorithmicMedia")
    return metadata
