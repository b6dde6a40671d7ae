"""Choose between generation and edit at each step where they differ, from the check to the file."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.provenance.metadata import Metadata
from vllm_image_core.requests.edit_receipt import edit_receipt
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, check_edit_support, resolve_edit
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.receipt import Receipt, receipt
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

__all__ = ["facts_of", "metadata_of", "read_inputs", "receipt_of", "resolve_operation"]


async def read_inputs(request: ImageRequest, profile: Profile, registry: Registry) -> ImageRequest:
    """Read the input images of an edit; return a generation unchanged.

    Raises:
        InvalidRequest: The model cannot do this edit, which is checked before an image is read; or an image
            cannot be used.
    """
    if not isinstance(request, EditRequest):
        return request
    check_edit_support(request, profile, registry)
    return await asyncio.to_thread(request.read)


def resolve_operation(
    request: ImageRequest, profile: Profile, registry: Registry, *, draw_seed: Callable[[], int]
) -> ResolvedRequest:
    """Check and complete a request, whether it is a generation or an edit.

    Raises:
        InvalidRequest: It does not fit the model.
    """
    if isinstance(request, EditRequest):
        return resolve_edit(request, profile, draw_seed=draw_seed, known=registry)
    return resolve(request, profile, draw_seed=draw_seed)


def receipt_of(request: ImageRequest, resolved: ResolvedRequest) -> Receipt:
    """Return the receipt: for each parameter, what was asked for and what is sent."""
    if isinstance(request, EditRequest) and isinstance(resolved, ResolvedEdit):
        return edit_receipt(request, resolved)
    return receipt(request, resolved)


def facts_of(resolved: ResolvedRequest) -> dict[str, object]:
    """Return the facts that a file holds in addition to the parameters of a generation."""
    return resolved.facts() if isinstance(resolved, ResolvedEdit) else {}


def metadata_of(metadata: Metadata, resolved: ResolvedRequest) -> Metadata:
    """Return what to write into the file; an edited image is marked as a composite, as IPTC defines it."""
    if isinstance(resolved, ResolvedEdit) and metadata.source == "trainedAlgorithmicMedia":
        return replace(metadata, source="compositeWithTrainedAlgorithmicMedia")
    return metadata
