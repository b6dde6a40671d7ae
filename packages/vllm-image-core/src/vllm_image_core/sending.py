"""Sending: a resolved request on its way to the server, by the call that it needs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.errors import UnsupportedParameter
from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

from vllm_image_core.editing.resolver import ResolvedEdit
from vllm_image_core.fleet import Fleet
from vllm_image_core.request import ImageRequest
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["sent"]

R = TypeVar("R", ImageGenerationRequest, ImageEditRequest)

_ASKED_AS: Final[Mapping[str, str]] = {"extra_params": "guidance_scale", "true_cfg_scale": "guidance_scale"}
"""Fields of the wire by the parameter of a request that fills them; others have the parameter's name."""


async def sent(
    fleet: Fleet,
    resolved: ResolvedRequest,
    *,
    asked: ImageRequest,
    model: str,
    cost: float | None = None,
    patient: bool = False,
    budget: GenerationBudget | None = None,
) -> ImageGenerationReply:
    """Send a request, and return the server's reply.

    A field that the profile filled in, and not the caller, is left out where no server knows it; the reply's
    receipt names it.

    Args:
        fleet: The servers.
        resolved: A generation, or an edit with its pictures.
        asked: What the caller asked for.
        model: The served name.
        cost: What it costs beside others; None where nobody knows.
        patient: Whether it gives way to what somebody waits for.
        budget: What the image may still cost; None for one that is begun with this call.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    if not isinstance(resolved, ResolvedEdit):
        wire = resolved.to_wire().model_copy(update={"model": model})

        def generate(request: ImageGenerationRequest) -> Awaitable[ImageGenerationReply]:
            return fleet.generate_image(request, cost=cost, patient=patient, budget=budget)

        return await _without_what_nobody_asked_for(wire, generate, asked)
    inputs = resolved.inputs

    def edit(request: ImageEditRequest) -> Awaitable[ImageGenerationReply]:
        return fleet.edit_image(
            request,
            tuple(one.picture.bytes for one in inputs.images),
            mask_image=inputs.mask.picture.bytes if inputs.mask else None,
            reference_image=inputs.reference_image.picture.bytes if inputs.reference_image else None,
            cost=cost,
            patient=patient,
            budget=budget,
        )

    return await _without_what_nobody_asked_for(
        resolved.to_edit().model_copy(update={"model": model}), edit, asked
    )


async def _without_what_nobody_asked_for(
    wire: R, send: Callable[[R], Awaitable[ImageGenerationReply]], asked: ImageRequest
) -> ImageGenerationReply:
    """Send, and again without each field that the servers do not know: of a refused request none was sent."""
    dropped: tuple[str, ...] = ()
    while True:
        try:
            reply = await send(wire)
        except UnsupportedParameter as refusal:
            field = refusal.parameter
            if field is None or getattr(wire, field, None) is None or _is_asked(asked, field):
                raise
            dropped = (*dropped, field)
            wire = wire.model_copy(update={field: None})
        else:
            return _receipted(reply, dropped)


def _is_asked(asked: ImageRequest, field: str) -> bool:
    return getattr(asked, _ASKED_AS.get(field, field), None) is not None


def _receipted(reply: ImageGenerationReply, dropped: tuple[str, ...]) -> ImageGenerationReply:
    if not dropped or reply.receipt is None:
        return reply
    return reply.with_receipt(replace(reply.receipt, ignored=(*reply.receipt.ignored, *dropped)))
