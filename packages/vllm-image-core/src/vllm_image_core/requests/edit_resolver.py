"""Resolve an edit: read its input images, check the caller's values and fill in the profile's."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from vllm_omni_client.edits import ImageEditRequest

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.settings import EditRules, Resolution
from vllm_image_core.requests import limits
from vllm_image_core.requests.edit_preparation import (
    NOTHING,
    UPSCALE_STRENGTH,
    Preparation,
    outpainted_size,
    read_preparation,
    upscaled_size,
)
from vllm_image_core.requests.edit_receipt import edit_receipt
from vllm_image_core.requests.edit_request import MOST_INPUTS, EditRequest, Inputs
from vllm_image_core.requests.edit_size import choose_edit_size, size_of_resolution
from vllm_image_core.requests.fields import edit_fields
from vllm_image_core.requests.guidance import EXTRA
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.input_picture import InputPicture
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.receipt import Receipt
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.requests.styling import apply_style
from vllm_image_core.text import brief

if TYPE_CHECKING:
    from vllm_image_core.imaging.xmp import DigitalSource

__all__ = [
    "ResolvedEdit",
    "check_edit_support",
    "resolve_edit",
]


def _with_server_guidance(resolved: ResolvedRequest, requested: object, profile: Profile) -> ResolvedRequest:
    """Return the request with the server's own guidance if an edit request cannot send another value.

    Args:
        resolved: The request, resolved as for a generation.
        requested: The caller's guidance scale, or None.
        profile: The model's profile.
    """
    if not resolved.guidance_field.startswith(EXTRA):
        return resolved
    usual = profile.default_guidance_scale
    notes = tuple(note for note in resolved.notes if note.parameter != "guidance_scale")
    if requested is not None and resolved.guidance_scale != usual:
        notes = (*notes, _not_sent(resolved.guidance_scale, profile))
    return replace(
        resolved, guidance_scale=usual, sent_guidance=usual, guided=profile.is_guided(usual), notes=notes
    )


def _not_sent(scale: float, profile: Profile) -> Note:
    message = (
        f"guidance_scale {scale:g} is not sent: {profile.model} reads it from {profile.guidance_field}, "
        f"which edit requests do not have. The server uses {profile.default_guidance_scale:g}."
    )
    return Note(parameter="guidance_scale", message=message)


_NAMED: Final = 6


def check_edit_support(request: EditRequest, profile: Profile, known: Iterable[Profile]) -> None:
    """Refuse an edit that the model cannot do, before any image is read.

    Args:
        request: The caller's request; its images may be unread.
        profile: The model's profile.
        known: All profiles, to name models that could do it.

    Raises:
        InvalidRequest: The model does not edit images, or not so many, or does not support a mask, reference
            image, layers or resolution; the message names models that do.
    """
    profiles = tuple(known)
    _check_count(request.count, profile, profiles)
    for parameter, given, reads in (
        ("mask", request.mask, _reads_mask),
        ("mask_box", request.mask_box, _reads_mask),
        ("mask_polygon", request.mask_polygon, _reads_mask),
        ("outpaint", request.outpaint, _reads_mask),
        ("upscale", request.upscale, _reads_strength),
        ("reference_image", request.reference_image, _reads_reference),
        ("layers", request.layers, _has_layers),
        ("resolution", request.resolution, _has_resolutions),
    ):
        if given is not None and not reads(profile.edit_rules):
            raise _refusal(parameter, given, profile, _names_of_able(profiles, reads))


def _reads_mask(rules: EditRules) -> bool:
    return rules.mask


def _reads_strength(rules: EditRules) -> bool:
    return rules.strength == "read"


def _reads_reference(rules: EditRules) -> bool:
    return rules.reference_image


def _has_layers(rules: EditRules) -> bool:
    return rules.default_layers is not None


def _has_resolutions(rules: EditRules) -> bool:
    return bool(rules.resolutions)


def _check_count(count: int, profile: Profile, profiles: tuple[Profile, ...]) -> None:
    most = profile.max_input_images
    if count <= most:
        return
    images = "an image" if count == 1 else f"{count} images"
    able = [each.model for each in profiles if each.max_input_images >= count and each.model != profile.model]
    if profile.older_servers is not None and most == profile.older_servers.max_input_images:
        able = [f"{profile.model} itself on vLLM-Omni {profile.older_servers.before} or newer", *able]
    if most:
        message = f"{profile.model} edits at most {most} {'image' if most == 1 else 'images'}, not {count}."
    elif profile.is_known:
        message = f"{profile.model} does not edit images; it generates them from text alone."
    else:
        message = "The loaded model has no profile, so it is not known whether it edits images."
    raise InvalidRequest(
        f"{message} Models that edit {images}: {_list(able)}." if able else message,
        parameter="images",
        value=count,
        allowed=f"at most {most} input images" if most else "no input images with this model",
        next_step=_next_step(profile, most) if able else f"Give at most {most or MOST_INPUTS} images.",
    )


def _next_step(profile: Profile, most: int) -> str:
    if most:
        return "Give fewer images, or use a server with one of these models."
    if profile.is_known:
        return "Use a server with one of these models, or describe the complete image and generate it."
    return (
        "Use a server with one of these models, give the model a profile with max_input_images, or set "
        "assume_edits to try it."
    )


def _names_of_able(profiles: tuple[Profile, ...], reads: Callable[[EditRules], bool]) -> str:
    return _list([each.model for each in profiles if each.max_input_images and reads(each.edit_rules)])


def _refusal(parameter: str, value: object, profile: Profile, able: str) -> InvalidRequest:
    return InvalidRequest(
        f"{profile.model} does not support {parameter} and would ignore it. Models that do: {able}.",
        parameter=parameter,
        value=value,
        allowed=f"no {parameter} with this model",
        next_step=f"Leave {parameter} out, or use a server with one of these models.",
    )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}" if names else "none of the known models"


_SHAPE_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedEdit(ResolvedRequest):
    """An edit as it will be sent; width and height are those of the result.

    Attributes:
        inputs: The input images as they were given.
        preparation: What is done to them before they are sent.
        strength: As it is sent; None if the model does not support it.
        layers: How many layers the image is split into; None if it is not split.
        resolution: What is sent instead of a size; None if the size is sent.
    """

    task: ClassVar[Task] = "edit"
    digital_source: "ClassVar[DigitalSource]" = "compositeWithTrainedAlgorithmicMedia"

    inputs: Inputs
    preparation: Preparation = NOTHING
    strength: float | None = None
    layers: int | None = None
    resolution: Resolution | None = None

    @property
    def inputs_by_role(self) -> tuple[tuple[str, InputPicture], ...]:
        """Each input image with its role in the edit: "image", "mask" or "reference_image"."""
        return self.inputs.by_role

    @property
    def layer_count(self) -> int | None:
        """How many layers the image is split into; None if it is not split."""
        return self.layers

    def sent_inputs(self) -> Inputs:
        """Return the images as they are sent; if they are prepared, this decodes and encodes them."""
        return self.preparation.apply(self.inputs, self.size)

    @property
    def sends_guidance(self) -> bool:
        """Whether edit requests have the field that the model reads guidance from."""
        return not self.guidance_field.startswith(EXTRA)

    @property
    def steps_run(self) -> int:
        """How many of the steps the model runs; with a strength below 1 it skips the first ones."""
        return _steps_left(1.0 if self.strength is None else self.strength, self.num_inference_steps)

    def as_request(self) -> EditRequest:
        """Return a request that resolves to this edit again, with its images already read."""
        base: dict[str, Any] = _values_of(super(ResolvedEdit, self).as_request())
        if self.resolution is not None or self.preparation.outpaint or self.preparation.upscale:
            base.update(width=None, height=None)
        return EditRequest(
            **base,
            **self.preparation.values(),
            images=self.inputs.images,
            mask=self.inputs.mask,
            reference_image=self.inputs.reference_image,
            strength=self.strength,
            layers=self.layers,
            resolution=self.resolution,
        )

    def to_edit(self) -> ImageEditRequest:
        """Return the edit request for the server, without images; `to_wire` gives the generation request."""
        values = self._shared_wire_values() | self._plain_wire_values(edit_fields())
        if self.resolution is not None:
            del values["size"]
        return ImageEditRequest(
            **values, strength=self.strength, layers=self.layers, resolution=self.resolution
        )

    def sent_values(self) -> dict[str, object]:
        """Return what is sent besides the images and shapes the result, as JSON values."""
        sent = self.to_edit().model_dump(mode="json", exclude_none=True, exclude={"model", "user"})
        return sent | self.preparation.values()

    def receipt(self, request: ImageRequest) -> Receipt:
        """Compare the request that this was resolved from with what is sent."""
        return edit_receipt(request, self)

    def facts(self) -> dict[str, object]:
        """What an image file records about an edit, in addition to what it records about a generation."""
        return {
            "operation": "edit",
            "inputs": self.inputs.facts(),
            "strength": self.strength,
            "layers": self.layers,
            "resolution": self.resolution,
            **self.preparation.values(),
        }


def resolve_edit(
    request: EditRequest, profile: Profile, *, draw_seed: Callable[[], int], known: Iterable[Profile] = ()
) -> ResolvedEdit:
    """Check an edit and fill in what the caller left to the model, as `resolver.resolve` does.

    Args:
        request: The caller's own values; images that have not been read yet are read, which blocks on the
            disk.
        profile: The model's profile.
        draw_seed: Called once if the request has no seed; returns 0 to 4294967295.
        known: All profiles, to name models that could do what this one cannot.

    Raises:
        InvalidRequest: A value cannot be used; the error says what is allowed, and which models support it.
    """
    known = tuple(known)
    check_edit_support(request, profile, known)
    request, styled, style_notes = apply_style(request, profile)
    preparation = read_preparation(request)
    inputs, rules = Inputs.of(request), profile.edit_rules
    for place, one in enumerate(inputs.images):
        _check_input(one, profile, "images" if len(inputs.images) == 1 else f"images[{place}]")
    resolution = _choose_resolution(request, profile)
    first = inputs.images[0].picture.size
    is_free = (request.width, request.height, request.aspect_ratio) == (None, None, None)
    has_mask = inputs.mask is not None or preparation.has_mask
    size_notes: tuple[Note, ...] = ()
    if preparation.upscale is not None:
        size, size_notes = upscaled_size(first, preparation.upscale, profile)
    elif resolution is not None:
        size = size_of_resolution(resolution, first)
    elif preparation.outpaint is not None:
        size = outpainted_size(first, preparation.outpaint, profile)
    elif has_mask and is_free:
        size = _masked_size(first, profile)
    else:
        size, size_notes = choose_edit_size(request, profile, first)
    if has_mask:
        _check_mask(inputs, size, profile, preparation)
    base = resolve(
        replace(request, width=None, height=None, aspect_ratio=None),
        profile,
        draw_seed=draw_seed,
        input_images=len(inputs.images),
        known=known,
    )
    base = _with_server_guidance(base, request.guidance_scale, profile)
    strength, strength_notes = _choose_strength(request, profile, base.num_inference_steps, has_mask=has_mask)
    values = _values_of(base)
    values.update(
        width=size.width,
        height=size.height,
        styled=styled,
        notes=(
            *style_notes,
            *size_notes,
            *base.notes,
            *strength_notes,
            *_mask_notes(inputs, preparation, profile),
        ),
    )
    return ResolvedEdit(
        **values,
        inputs=inputs,
        preparation=preparation,
        strength=strength,
        layers=_choose_layers(request, rules),
        resolution=resolution,
    )


def _values_of(base: ImageRequest | ResolvedRequest) -> dict[str, Any]:
    """Return the values of a generation by field name, to build an edit from."""
    return {field.name: getattr(base, field.name) for field in fields(base)}


def _check_input(one: InputPicture, profile: Profile, parameter: str) -> None:
    """Refuse an image that the model's pipeline would answer with status 500 after the upload."""
    rules, size = profile.edit_rules, one.picture.size
    if min(size.width, size.height) < rules.min_input_side:
        allowed = f"at least {rules.min_input_side} pixels a side"
    elif rules.max_input_aspect and max(size.aspect, 1 / size.aspect) > rules.max_input_aspect:
        allowed = f"a longer side of at most {rules.max_input_aspect:g} times the shorter one"
    else:
        return
    raise InvalidRequest(
        f"{parameter}: {one} does not suit {profile.model}, which takes images with {allowed}.",
        parameter=parameter,
        value=str(size),
        allowed=allowed,
        next_step="Give another image, or resize or crop this one first.",
    )


def _choose_resolution(request: EditRequest, profile: Profile) -> Resolution | None:
    allowed = profile.edit_rules.resolutions
    if not allowed:
        return None
    requested = {
        "aspect_ratio": request.aspect_ratio,
        "width": request.width,
        "height": request.height,
    }
    for parameter, value in requested.items():
        if value is not None:
            raise InvalidRequest(
                f"{profile.model} does not accept {parameter}: the size follows from the input image and the "
                "resolution.",
                parameter=parameter,
                value=value,
                allowed=f"a resolution of {' or '.join(map(str, allowed))} instead",
                next_step=f"Leave {parameter} out, or give a resolution.",
            )
    if request.resolution is None:
        return allowed[0]
    for resolution in allowed:
        if type(request.resolution) is int and request.resolution == resolution:
            return resolution
    raise InvalidRequest(
        f"resolution: {brief(request.resolution)} is not one of {', '.join(map(str, allowed))}.",
        parameter="resolution",
        value=request.resolution,
        allowed=f"one of {', '.join(map(str, allowed))}",
    )


def _choose_layers(request: EditRequest, rules: EditRules) -> int | None:
    if request.layers is None:
        return rules.default_layers
    return limits.check("layers", request.layers)


def _choose_strength(
    request: EditRequest, profile: Profile, steps: int, *, has_mask: bool
) -> tuple[float | None, tuple[Note, ...]]:
    """Return the strength to send (None to send none), and a note if the caller's is not sent."""
    rules = profile.edit_rules
    requested = None if request.strength is None else limits.check("strength", request.strength)
    has_extra = has_mask or request.reference_image is not None
    if rules.strength == "read" or (rules.strength == "with_mask_or_reference" and has_extra):
        usual = rules.default_strength if request.upscale is None else UPSCALE_STRENGTH
        strength = usual if requested is None else requested
        if strength is not None:
            _check_steps_left(strength, steps)
        return strength, ()
    if requested is None:
        return None, ()
    only = "" if rules.strength == "unread" else " without a mask or a reference_image"
    message = f"strength was dropped: {profile.model} does not support it{only}."
    return None, (Note(parameter="strength", message=message),)


def _check_steps_left(strength: float, steps: int) -> None:
    if _steps_left(strength, steps) >= 1:
        return
    raise InvalidRequest(
        f"strength {strength:g} with {steps} steps leaves no steps to run, so the image would not change.",
        parameter="strength",
        value=strength,
        allowed="a number above 0, up to 1",
    )


def _steps_left(strength: float, steps: int) -> int:
    """Count the steps that run, as the pipelines do (source: vLLM-Omni 0.30.0, klein's `get_timesteps`)."""
    return steps - int(max(steps - min(steps * strength, steps), 0))


def _masked_size(picture: Size, profile: Profile) -> Size:
    """The size of an image as the pipeline lays a mask over it: reduced, each side rounded down."""
    most = profile.edit_rules.masked_pixels
    scale = 1.0 if most is None else min(1.0, math.sqrt(most / picture.pixels))
    multiple = profile.resolution_multiple
    width, height = (int(side * scale) // multiple * multiple for side in (picture.width, picture.height))
    return Size(width, height)


def _check_mask(inputs: Inputs, size: Size, profile: Profile, preparation: Preparation) -> None:
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
    covered = _masked_size(first, profile)
    if size != covered and preparation.outpaint is None:
        raise InvalidRequest(
            f"mask: with a mask, the result has the size of its image, {covered}; {size} was asked for.",
            parameter="mask",
            value=str(size),
            allowed=f"the image's own size, {covered}",
            next_step="Leave out width, height and aspect_ratio, or leave out the mask.",
        )


def _mask_notes(inputs: Inputs, preparation: Preparation, profile: Profile) -> tuple[Note, ...]:
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
