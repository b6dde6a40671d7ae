"""Resolve an edit: read its input images, check the caller's values and fill in the profile's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel
from vllm_omni_client.edits import ImageEditRequest

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.settings import EditRules, Resolution
from vllm_image_core.requests import limits
from vllm_image_core.requests.edit_mask import check_mask, mask_notes, masked_size
from vllm_image_core.requests.edit_preparation import (
    NOTHING,
    UPSCALE_STRENGTH,
    Preparation,
    outpainted_size,
    read_preparation,
    upscaled_size,
)
from vllm_image_core.requests.edit_receipt import edit_receipt
from vllm_image_core.requests.edit_request import EditRequest, Inputs
from vllm_image_core.requests.edit_size import choose_edit_size, size_of_resolution
from vllm_image_core.requests.edit_support import check_edit_support
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

    def to_edit(self, *, model: str | None = None) -> ImageEditRequest:
        """Return the edit request for the server's `model`, without images."""
        values = self._shared_wire_values() | self._plain_wire_values(edit_fields())
        if self.resolution is not None:
            del values["size"]
        return ImageEditRequest(
            **values, model=model, strength=self.strength, layers=self.layers, resolution=self.resolution
        )

    def sent_request(self, *, model: str | None = None) -> ImageEditRequest:
        """Return what is sent to the server's `model`, without the images."""
        return self.to_edit(model=model)

    def sent_values(self, wire: BaseModel | None = None) -> dict[str, object]:
        """Return what is sent besides the images and shapes the result, as JSON values."""
        return super(ResolvedEdit, self).sent_values(wire) | self.preparation.values()

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
        size = masked_size(first, profile)
    else:
        size, size_notes = choose_edit_size(request, profile, first)
    if has_mask:
        check_mask(inputs, size, profile, preparation)
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
            *mask_notes(inputs, preparation, profile),
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
