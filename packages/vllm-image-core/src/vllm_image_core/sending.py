"""Sending: a resolved request on its way to the server, by the call that it needs."""

from vllm_omni_client.generation_budget import GenerationBudget
from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.editing.resolver import ResolvedEdit
from vllm_image_core.fleet import Fleet
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["sent"]


async def sent(
    fleet: Fleet,
    resolved: ResolvedRequest,
    *,
    model: str,
    cost: float | None = None,
    patient: bool = False,
    budget: GenerationBudget | None = None,
) -> ImageGenerationReply:
    """Send a request, and return the server's reply.

    Args:
        fleet: The servers.
        resolved: A generation, or an edit with its pictures.
        model: The served name.
        cost: What it costs beside others; None where nobody knows.
        patient: Whether it gives way to what somebody waits for.
        budget: What the image may still cost; None for one that is begun with this call.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    if not isinstance(resolved, ResolvedEdit):
        wire = resolved.to_wire().model_copy(update={"model": model})
        return await fleet.generate_image(wire, cost=cost, patient=patient, budget=budget)
    inputs = resolved.inputs
    return await fleet.edit_image(
        resolved.to_edit().model_copy(update={"model": model}),
        tuple(one.picture.bytes for one in inputs.images),
        mask_image=inputs.mask.picture.bytes if inputs.mask else None,
        reference_image=inputs.reference_image.picture.bytes if inputs.reference_image else None,
        cost=cost,
        patient=patient,
        budget=budget,
    )
