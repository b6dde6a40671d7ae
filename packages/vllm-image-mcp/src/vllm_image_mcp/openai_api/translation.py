"""Translate requests of the OpenAI images API into requests for the loaded model."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vllm_image_core.errors import BadPicture, ImageError, InvalidRequest
from vllm_image_core.imaging.mask import mask_of_transparency
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import brief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm_image_core.models.profile import Profile
    from vllm_image_core.models.quality import Quality
    from vllm_image_core.models.served import ServedModel
    from vllm_image_core.requests.fields import RequestValues
    from vllm_image_core.studio import Studio

    from vllm_image_mcp.openai_api.request_body import ParsedBody

_QUALITIES: Final[Mapping[str, Quality]] = {
    "low": "draft",
    "draft": "draft",
    "medium": "standard",
    "standard": "standard",
    "high": "best",
    "hd": "best",
    "best": "best",
}
"""Qualities of OpenAI's models, with the preset of the loaded model that comes next to each."""

_STYLES: Final[Mapping[str, str]] = {"vivid": "cinematic", "natural": "photo"}
"""Styles of OpenAI's models, with the saved style that comes next to each; other names are saved styles."""

_LOSSY: Final = frozenset({"jpeg", "webp"})

_OPENAI_SIZES: Final = frozenset(
    {
        *((256, 256), (512, 512), (1024, 1024), (1792, 1024), (1024, 1792)),
        *((1536, 1024), (1024, 1536)),
    }
)
"""The sizes that programs for OpenAI's models offer, whatever the loaded model can do."""

_OPENAI_MODELS: Final = re.compile(r"(?:dall-e-|gpt-image-|chatgpt-image-)[\w.-]{1,40}")
"""The models that programs name because they know no others; each stands for the loaded one."""


class UnknownModel(ImageError):
    """The request names a model that is not loaded."""

    usual_next_step = "Omit model, or use a name that GET /v1/models lists."


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A request for the loaded model.

    Attributes:
        request: The request for one image.
        count: How many images to generate.
        changes: What was changed before the model's own rules, in a sentence each.
    """

    request: ImageRequest
    count: int
    changes: tuple[str, ...]


async def translate(parsed: ParsedBody, studio: Studio) -> Translation:
    """Translate a request, and check it against the loaded model.

    Raises:
        UnknownModel: It names a model that is not loaded.
        InvalidRequest: It does not fit the loaded model; nothing was sent.
        OmniError: The server does not report its model.
    """
    body = parsed.body
    model = await studio.model()
    _check_model(body.model, model)
    if body.stream or body.partial_images:
        raise InvalidRequest(
            "stream: images are not streamed. Omit stream and partial_images.",
            parameter="stream",
            value=True,
            allowed="false",
        )
    changes: list[str] = []
    request = _request(parsed, changes)
    request = await _fitted(request, studio, model.profile, changes)
    return Translation(request=request, count=body.n or 1, changes=tuple(changes))


def _check_model(name: str | None, model: ServedModel) -> None:
    known = {model.name, model.match.name, model.profile.model}
    if not name or name in known or _OPENAI_MODELS.fullmatch(name):
        return
    raise UnknownModel(f"The model {brief(name)} is not loaded. The server has {model.name}.")


def _request(parsed: ParsedBody, changes: list[str]) -> ImageRequest:
    body = parsed.body
    width, height = body.sides or (None, None)
    style = None if body.style is None else _STYLES.get(body.style, body.style)
    if style != body.style:
        changes.append(f"style {body.style}: the saved style {style} was used")
    values: RequestValues = {
        "style": style,
        "negative_prompt": body.negative_prompt,
        "width": width,
        "height": height,
        "num_inference_steps": body.num_inference_steps,
        "guidance_scale": body.guidance_scale,
        "seed": body.seed,
        "quality": None if body.quality is None else _QUALITIES[body.quality],
        "output_format": body.output_format,
        # OpenAI ignores it for PNG, and some programs always send it.
        "output_compression": body.output_compression if body.output_format in _LOSSY else None,
        "background": "transparent" if body.background == "transparent" else None,
    }
    if parsed.uploads is None:
        return ImageRequest(prompt=body.prompt, **values)
    mask = parsed.uploads.mask
    return EditRequest(
        prompt=body.prompt,
        images=list(parsed.uploads.images),
        mask=None if mask is None else _mask(mask),
        strength=body.strength,
        **values,
    )


def _mask(data: bytes) -> Picture:
    try:
        return mask_of_transparency(Picture.check_file(data))
    except BadPicture as error:
        raise InvalidRequest(
            f"mask: {error.message}", parameter="mask", value=None, allowed="a PNG, JPEG or WebP file"
        ) from error


async def _fitted(
    request: ImageRequest, studio: Studio, profile: Profile, changes: list[str]
) -> ImageRequest:
    """Return the request, with the model's nearest shape instead of a size that only OpenAI's models have."""
    try:
        await studio.check(request)
    except InvalidRequest as error:
        sides = (request.width, request.height)
        if error.parameter not in {"width", "height", "size"} or sides not in _OPENAI_SIZES:
            raise
    else:
        return request
    wanted = math.log((request.width or 1) / (request.height or 1))
    ratio = min(profile.supported_aspect_ratios, key=lambda each: abs(math.log(_value(each)) - wanted))
    size = f"{request.width}x{request.height}"
    changes.append(f"size {size}: the model does not have it, so its nearest shape, {ratio}, was used")
    fitted = replace(request, width=None, height=None, aspect_ratio=ratio)
    await studio.check(fitted)
    return fitted


def _value(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return float(width) / float(height)
