"""Sending: a resolved request on its way to the server, by the call that it needs."""

from vllm_omni_client.models import ImageGenerationReply

from vllm_image_core.backend import Backend
from vllm_image_core.edit_resolver import ResolvedEdit
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["sent"]


async def sent(backend: Backend, resolved: ResolvedRequest, *, model: str) -> ImageGenerationReply:
    """Send a request, and return the server's reply.

    Args:
        backend: The server.
        resolved: A generation, or an edit with its pictures.
        model: The served name.

    Raises:
        OmniError: The server refused, failed, or did not answer.
    """
    if not isinstance(resolved, ResolvedEdit):
        return await backend.generate_image(resolved.to_wire().model_copy(update={"model": model}))
    inputs = resolved.inputs
    return await backend.edit_image(
        resolved.to_edit().model_copy(update={"model": model}),
        tuple(one.picture.bytes for one in inputs.images),
        mask_image=inputs.mask.picture.bytes if inputs.mask else None,
        reference_image=inputs.reference_image.picture.bytes if inputs.reference_image else None,
    )
