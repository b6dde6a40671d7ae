"""Choose between generation and edit in the two places where they differ: resolving and sending."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar, cast

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import UnsupportedParameter
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

from vllm_image_core.fleet.fleet import Fleet
from vllm_image_core.generation.job import ResolvedJob
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.registry import Registry
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit, resolve_edit
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.resolver import ResolvedRequest, resolve

R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)

_ASKED_AS: Final[Mapping[str, str]] = {"extra_params": "guidance_scale", "true_cfg_scale": "guidance_scale"}
"""The request parameter that fills each wire field; other fields have the parameter's own name."""


def resolve_operation(
    request: ImageRequest, profile: Profile, registry: Registry, *, draw_seed: Callable[[], int]
) -> ResolvedRequest:
    """Check and complete a request; an edit reads its input images, which blocks on the disk.

    Raises:
        InvalidRequest: It does not fit the model, which is checked before an image is read; or an image
            cannot be used.
    """
    if isinstance(request, EditRequest):
        return resolve_edit(request, profile, draw_seed=draw_seed, known=registry)
    return resolve(request, profile, draw_seed=draw_seed, known=registry)


async def send(fleet: Fleet, job: ResolvedJob, *, cost: float | None = None) -> ImageGenerationReply:
    """Send a request, and return the server's reply.

    If no server knows a field, it is left out, provided the profile and not the caller filled it in; the
    reply's receipt names it.

    Args:
        fleet: The servers.
        job: What to send; a job of a batch gives way to requests that somebody is waiting for.
        cost: Cost relative to other requests; None if it is not known.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    wire, is_of_batch, budget = job.wire, job.batch is not None, job.budget
    if isinstance(wire, ImageGenerationRequest):

        def generate(request: ImageGenerationRequest) -> Awaitable[ImageGenerationReply]:
            return fleet.generate_image(request, cost=cost, low_priority=is_of_batch, budget=budget)

        return await _send_supported_fields(wire, generate, job.request)
    inputs = await asyncio.to_thread(cast("ResolvedEdit", job.resolved).sent_inputs)

    def edit(request: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
        return fleet.edit_image(
            request,
            tuple(one.picture.bytes for one in inputs.images),
            mask_image=inputs.mask.picture.bytes if inputs.mask else None,
            reference_image=inputs.reference_image.picture.bytes if inputs.reference_image else None,
            cost=cost,
            low_priority=is_of_batch,
            budget=budget,
        )

    return await _send_supported_fields(wire, edit, job.request)


async def _send_supported_fields(
    wire: R, send: Callable[[R], Awaitable[ImageGenerationReply]], asked: ImageRequest
) -> ImageGenerationReply:
    """Send a request, and again without each field that the servers refuse and that nobody asked for."""
    dropped: tuple[str, ...] = ()
    while True:
        try:
            reply = await send(wire)
        except UnsupportedParameter as refusal:
            field = refusal.parameter
            if field is None or getattr(wire, field, None) is None or _was_requested(asked, field):
                raise
            dropped = (*dropped, field)
            wire = wire.model_copy(update={field: None})
        else:
            return _add_ignored_to_receipt(reply, dropped)


def _was_requested(asked: ImageRequest, field: str) -> bool:
    names = {field, _ASKED_AS.get(field, field)}
    return any(getattr(asked, name, None) is not None for name in names)


def _add_ignored_to_receipt(reply: ImageGenerationReply, dropped: tuple[str, ...]) -> ImageGenerationReply:
    if not dropped or reply.receipt is None:
        return reply
    return reply.with_receipt(
        replace(reply.receipt, ignored_fields=(*reply.receipt.ignored_fields, *dropped))
    )
