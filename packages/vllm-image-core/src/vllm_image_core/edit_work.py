"""What an edit asks of a GPU, by the shape of a generation's law: its input pictures are not counted."""

from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.backend import ServerRequest
from vllm_image_core.edit_resolver import ResolvedEdit, steps_left
from vllm_image_core.profile import Profile
from vllm_image_core.size import Size
from vllm_image_core.work import Work

__all__ = ["edit_work", "sent_work"]


def edit_work(resolved: ResolvedEdit) -> Work:
    """The work of a resolved edit; each layer of a picture that is taken apart counts as a picture."""
    steps = resolved.steps_run * (resolved.layers or 1)
    return Work.at(resolved.size, steps, guided=resolved.guided)


def sent_work(request: ServerRequest, profile: Profile) -> Work:
    """The work of a request as it is sent, a generation or an edit that was resolved for this profile.

    Raises:
        ValueError: It is none of ours.
    """
    if isinstance(request, ImageGenerationRequest):
        return Work.sent(request, profile)
    steps = request.num_inference_steps or profile.default_steps
    if request.strength is not None:
        steps = steps_left(request.strength, steps)
    in_its_field = {"guidance_scale": request.guidance_scale, "true_cfg_scale": request.true_cfg_scale}
    guided = profile.guided(in_its_field[profile.guidance_field] or 0.0)
    return Work.at(_size(request.size, request.resolution), steps * (request.layers or 1), guided=guided)


def _size(size: str | None, resolution: int | None) -> Size:
    if resolution is not None:
        return Size(resolution, resolution)
    width, _, height = (size or "").partition("x")
    return Size(int(width), int(height))
