"""Edit mask: check that the model can lay a mask over its image, and note what becomes of the mask."""

import math
from typing import Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.requests.edit_preparation import Preparation
from vllm_image_core.requests.edit_request import Inputs
from vllm_image_core.requests.note import Note

_SHAPE_TOLERANCE: Final = 0.02


def masked_size(picture: Size, profile: Profile) -> Size:
    """The size of an image as the pipeline lays a mask over it: reduced, each side rounded down."""
    most = profile.edit_rules.masked_pixels
    scale = 1.0 if most is None else min(1.0, math.sqrt(most / picture.pixels))
    multiple = profile.resolution_multiple
    width, height = (int(side * scale) // multiple * multiple for side in (picture.width, picture.height))
    return Size(width, height)


def check_mask(inputs: Inputs, size: Size, profile: Profile, preparation: Preparation) -> None:
    """Refuse a mask, given or drawn, that the pipeline cannot lay over its input.

    Source: Flux2KleinPipeline of vLLM-Omni 0.30.0 multiplies the mask with the latents of its inputs; with
    several inputs, or with a result of another size than the input, the server answers 500.
    """
    count = len(inputs.images)
    if count > 1:
        raise InvalidRequest(
            f"mask: {profile.model} takes a mask with a single image; {count} were given.",
            parameter="mask",
            value=count,
            allowed="a mask with one image",
            next_step="Give one image, or leave out the mask.",
        )
    first = inputs.images[0].picture.size
    if preparation.areas is not None:
        preparation.areas.check(first)
    covered = masked_size(first, profile)
    if size != covered and preparation.outpaint is None:
        raise InvalidRequest(
            f"mask: with a mask, the result has the size of its image, {covered}; {size} was asked for.",
            parameter="mask",
            value=str(size),
            allowed=f"the image's own size, {covered}",
            next_step="Leave out width, height and aspect_ratio, or leave out the mask.",
        )


def mask_notes(inputs: Inputs, preparation: Preparation, profile: Profile) -> tuple[Note, ...]:
    """Note which parts of a mask the model ignores: a soft edge, or what does not fit the image's shape."""
    if preparation.areas is not None and preparation.areas.feather and not profile.edit_rules.soft_mask:
        message = f"mask_feather only rounds the corners: {profile.model} reads a mask as black and white."
        return (Note(parameter="mask_feather", message=message),)
    if inputs.mask is None or _same_shape(inputs.mask.picture.size, inputs.images[0].picture.size):
        return ()
    mask, image = inputs.mask.picture.size, inputs.images[0].picture.size
    message = f"The mask ({mask}) does not have the shape of the image ({image}); it is cropped to fit."
    return (Note(parameter="mask", message=message),)


def _same_shape(mask: Size, image: Size) -> bool:
    return abs(mask.aspect / image.aspect - 1) <= _SHAPE_TOLERANCE
