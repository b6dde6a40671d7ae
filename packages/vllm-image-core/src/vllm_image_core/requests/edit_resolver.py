"""A resolved edit: the caller's values over the profile's, its pictures read, and ready to be sent."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from vllm_omni_client.edits import ImageEditRequest

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.settings import EditRules, Resolution
from vllm_image_core.requests import limits
from vllm_image_core.requests.edit_request import MOST_INPUTS, EditRequest, Inputs
from vllm_image_core.requests.edit_size import choose_edit_size, size_of_resolution
from vllm_image_core.requests.guidance import EXTRA
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.input_picture import InputPicture
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.resolver import ResolvedRequest, resolve
from vllm_image_core.text import shown

__all__ = [
    "ResolvedEdit",
    "check_editor",
    "has_no_place",
    "in_an_edit",
    "resolve_edit",
]


def has_no_place(resolved: ResolvedRequest) -> bool:
    """Whether an edit's form has no field for the guidance that the model reads."""
    return resolved.guidance_field.startswith(EXTRA)


def in_an_edit(resolved: ResolvedRequest, asked: object, profile: Profile) -> ResolvedRequest:
    """The same with the guidance that the server takes by itself, where it cannot be told another.

    Args:
        resolved: As a generation would be.
        asked: The caller's guidance scale, or None.
        profile: The model's.
    """
    if not has_no_place(resolved):
        return resolved
    usual = profile.default_guidance_scale
    notes = tuple(note for note in resolved.notes if note.parameter != "guidance_scale")
    if asked is not None and resolved.guidance_scale != usual:
        notes = (*notes, _not_sent(resolved.guidance_scale, profile))
    return replace(
        resolved, guidance_scale=usual, sent_guidance=usual, guided=profile.is_guided(usual), notes=notes
    )


def _not_sent(scale: float, profile: Profile) -> Note:
    message = (
        f"guidance_scale {scale:g} is not sent: {profile.model} reads {profile.guidance_field}, for which an "
        f"edit has no field; the server takes {profile.default_guidance_scale:g}."
    )
    return Note(parameter="guidance_scale", message=message)


_NAMED: Final = 6


def check_editor(request: EditRequest, profile: Profile, known: Iterable[Profile]) -> None:
    """Find out whether a model can do an edit at all, before a picture is read.

    Args:
        request: The caller's own; its pictures may be unread.
        profile: The model's.
        known: All profiles, for the names of those that could.

    Raises:
        InvalidRequest: It edits no pictures, or not so many, or takes no mask, reference picture, layers or
            resolution; the message names models that do.
    """
    profiles = tuple(known)
    _check_count(request.count, profile, profiles)
    for parameter, given, reads in (
        ("mask", request.mask, _reads_mask),
        ("reference_image", request.reference_image, _reads_reference),
        ("layers", request.layers, _has_layers),
        ("resolution", request.resolution, _has_resolutions),
    ):
        if given is not None and not reads(profile.edit_rules):
            raise _refusal(parameter, given, profile, _names_of_able(profiles, reads))


def _reads_mask(rules: EditRules) -> bool:
    return rules.mask


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
    pictures = "a picture" if count == 1 else f"{count} pictures"
    able = [each.model for each in profiles if each.max_input_images >= count and each.model != profile.model]
    if profile.older_servers is not None and most == profile.older_servers.max_input_images:
        able = [f"{profile.model} itself on vLLM-Omni {profile.older_servers.before} or newer", *able]
    if most:
        message = (
            f"{profile.model} edits at most {most} {'picture' if most == 1 else 'pictures'}, not {count}."
        )
    elif profile.is_known:
        message = f"{profile.model} edits no pictures: it makes them from a text alone."
    else:
        message = "The loaded model is not known, and so it is not known whether it edits pictures."
    raise InvalidRequest(
        f"{message} Models that edit {pictures}: {_list(able)}." if able else message,
        parameter="images",
        value=count,
        allowed=f"at most {most} input pictures" if most else "no input pictures with this model",
        next_step=_next_step(profile, most) if able else f"Give at most {most or MOST_INPUTS} pictures.",
    )


def _next_step(profile: Profile, most: int) -> str:
    if most:
        return "Give fewer pictures, or use a server with one of these models."
    if profile.is_known:
        return "Use a server with one of these models, or describe the whole picture and generate it."
    return "Use a server with one of these models, or give the model a profile with max_input_images."


def _names_of_able(profiles: tuple[Profile, ...], reads: Callable[[EditRules], bool]) -> str:
    return _list([each.model for each in profiles if each.max_input_images and reads(each.edit_rules)])


def _refusal(parameter: str, value: object, profile: Profile, able: str) -> InvalidRequest:
    return InvalidRequest(
        f"{profile.model} reads no {parameter}, and would ignore it. Models that do: {able}.",
        parameter=parameter,
        value=value,
        allowed=f"no {parameter} with this model",
        next_step=f"Leave {parameter} out, or use a server with one of these models.",
    )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}" if names else "none that is known"


_SHAPE_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedEdit(ResolvedRequest):
    """What will be sent to change pictures; width and height are those of the result.

    Attributes:
        inputs: The pictures.
        strength: As it is sent; None where the model reads none.
        layers: In how many layers the picture is taken apart; None where it is not.
        resolution: What is sent in place of a size; None where the size is sent.
    """

    inputs: Inputs
    strength: float | None = None
    layers: int | None = None
    resolution: Resolution | None = None

    @property
    def steps_run(self) -> int:
        """How many of the steps the model runs: with a strength below 1 it begins later."""
        return _steps_left(1.0 if self.strength is None else self.strength, self.num_inference_steps)

    def as_request(self) -> EditRequest:
        """The request that resolves to this again, its pictures read."""
        base: dict[str, Any] = _values_of(super(ResolvedEdit, self).as_request())
        if self.resolution is not None:
            base.update(width=None, height=None)
        return EditRequest(
            **base,
            images=self.inputs.images,
            mask=self.inputs.mask,
            reference_image=self.inputs.reference_image,
            strength=self.strength,
            layers=self.layers,
            resolution=self.resolution,
        )

    def to_edit(self) -> ImageEditRequest:
        """The request as the server takes it, without its pictures; `to_wire` is that of a generation."""
        sent: dict[str, Any] = self.to_wire().model_dump(exclude_none=True, exclude={"extra_params"})
        if self.resolution is not None:
            del sent["size"]
        return ImageEditRequest(
            **sent, strength=self.strength, layers=self.layers, resolution=self.resolution
        )

    def facts(self) -> dict[str, object]:
        """What a picture's file tells of its making beyond what it tells of a generation."""
        return {
            "operation": "edit",
            "inputs": self.inputs.facts(),
            "strength": self.strength,
            "layers": self.layers,
            "resolution": self.resolution,
        }


def resolve_edit(
    request: EditRequest, profile: Profile, *, draw_seed: Callable[[], int], known: Iterable[Profile] = ()
) -> ResolvedEdit:
    """Check an edit, and fill in what the caller left to the model; as `resolver.resolve` does.

    Args:
        request: The caller's own values; pictures that are not read yet are read, which waits for the disk.
        profile: The model's.
        draw_seed: Called once when the request has no seed; 0 to 4294967295.
        known: All profiles, to name those that could where this one cannot.

    Raises:
        InvalidRequest: A value that cannot be used, with what is allowed, and who could.
    """
    check_editor(request, profile, known)
    inputs, rules = Inputs.of(request), profile.edit_rules
    for place, one in enumerate(inputs.images):
        _check_input(one, profile, "images" if len(inputs.images) == 1 else f"images[{place}]")
    resolution = _choose_resolution(request, profile)
    first = inputs.images[0].picture.size
    if resolution is None:
        size, size_notes = choose_edit_size(request, profile, first)
    else:
        size, size_notes = size_of_resolution(resolution, first), ()
    if inputs.mask is not None and (request.width, request.height, request.aspect_ratio) == (
        None,
        None,
        None,
    ):
        size, size_notes = _masked_size(inputs, profile), ()
    _check_mask(inputs, size, profile)
    base = resolve(
        replace(request, width=None, height=None, aspect_ratio=None),
        profile,
        draw_seed=draw_seed,
        input_images=len(inputs.images),
    )
    base = in_an_edit(base, request.guidance_scale, profile)
    strength, strength_notes = _choose_strength(request, profile, base.num_inference_steps)
    values = _values_of(base)
    values.update(
        width=size.width,
        height=size.height,
        notes=(*size_notes, *base.notes, *strength_notes, *_mask_notes(inputs)),
    )
    return ResolvedEdit(
        **values,
        inputs=inputs,
        strength=strength,
        layers=_choose_layers(request, rules),
        resolution=resolution,
    )


def _values_of(base: ImageRequest | ResolvedRequest) -> dict[str, Any]:
    """The values of a generation by name, for an edit that has them all and more."""
    return {field.name: getattr(base, field.name) for field in fields(base)}


def _check_input(one: InputPicture, profile: Profile, parameter: str) -> None:
    """What the model's pipeline would refuse, after the picture was uploaded, with status 500."""
    rules, size = profile.edit_rules, one.picture.size
    if min(size.width, size.height) < rules.min_input_side:
        allowed = f"at least {rules.min_input_side} pixels a side"
    elif rules.max_input_aspect and max(size.aspect, 1 / size.aspect) > rules.max_input_aspect:
        allowed = f"a longer side of at most {rules.max_input_aspect:g} times the shorter one"
    else:
        return
    raise InvalidRequest(
        f"{parameter}: {one} does not suit {profile.model}, which takes pictures with {allowed}.",
        parameter=parameter,
        value=str(size),
        allowed=allowed,
        next_step="Give another picture, or resize or crop this one first.",
    )


def _choose_resolution(request: EditRequest, profile: Profile) -> Resolution | None:
    allowed = profile.edit_rules.resolutions
    if not allowed:
        return None
    asked = {
        "aspect_ratio": request.aspect_ratio,
        "width": request.width,
        "height": request.height,
    }
    for parameter, value in asked.items():
        if value is not None:
            raise InvalidRequest(
                f"{profile.model} takes no {parameter}: the size follows from the input and the resolution.",
                parameter=parameter,
                value=value,
                allowed=f"a resolution of {' or '.join(map(str, allowed))} in its place",
                next_step=f"Leave {parameter} out, or give a resolution.",
            )
    if request.resolution is None:
        return allowed[0]
    for resolution in allowed:
        if type(request.resolution) is int and request.resolution == resolution:
            return resolution
    raise InvalidRequest(
        f"resolution: {shown(request.resolution)} is none of {', '.join(map(str, allowed))}.",
        parameter="resolution",
        value=request.resolution,
        allowed=f"one of {', '.join(map(str, allowed))}",
    )


def _choose_layers(request: EditRequest, rules: EditRules) -> int | None:
    if request.layers is None:
        return rules.default_layers
    return checks.integer("layers", request.layers, 2, 10, allowed="a whole number from 2 to 10")


def _choose_strength(
    request: EditRequest, profile: Profile, steps: int
) -> tuple[float | None, tuple[Note, ...]]:
    """The strength to send, None for none, and a note where the caller's is not sent."""
    rules = profile.edit_rules
    asked = None if request.strength is None else limits.strength(request.strength)
    beside = request.mask is not None or request.reference_image is not None
    if rules.strength == "read" or (rules.strength == "with_mask_or_reference" and beside):
        strength = rules.default_strength if asked is None else asked
        if strength is not None:
            _check_steps_left(strength, steps)
        return strength, ()
    if asked is None:
        return None, ()
    why = "reads one only beside a mask or a reference_image" if rules.strength != "unread" else "reads none"
    return None, (Note(parameter="strength", message=f"strength was dropped: {profile.model} {why}."),)


def _check_steps_left(strength: float, steps: int) -> None:
    if _steps_left(strength, steps) >= 1:
        return
    raise InvalidRequest(
        f"strength: {strength:g} of {steps} steps leaves none: the picture would stay as it is.",
        parameter="strength",
        value=strength,
        allowed="a number above 0, up to 1",
    )


def _steps_left(strength: float, steps: int) -> int:
    """The rule of the pipelines (source: `get_timesteps` of vLLM-Omni 0.30.0's klein and Z-Image)."""
    return steps - int(max(steps - min(steps * strength, steps), 0))


def _masked_size(inputs: Inputs, profile: Profile) -> Size:
    """The size of the first image as the pipeline lays a mask over it: reduced, each side rounded down."""
    picture, most = inputs.images[0].picture.size, profile.edit_rules.masked_pixels
    scale = 1.0 if most is None else min(1.0, math.sqrt(most / picture.pixels))
    multiple = profile.resolution_multiple
    width, height = (int(side * scale) // multiple * multiple for side in (picture.width, picture.height))
    return Size(width, height)


def _multiples(size: Size, multiple: int) -> tuple[int, int]:
    return size.width // multiple, size.height // multiple


def _check_mask(inputs: Inputs, size: Size, profile: Profile) -> None:
    """Refuse a mask that the pipeline cannot lay over its input.

    Source: Flux2KleinPipeline of vLLM-Omni 0.30.0 multiplies the mask with the latents of its inputs; with
    several inputs, or with a result of another size than the input, the server answers 500.
    """
    if inputs.mask is None:
        return
    count = len(inputs.images)
    if count > 1:
        raise InvalidRequest(
            f"mask: {profile.model} takes a mask with a single image; {count} were given.",
            parameter="mask",
            value=count,
            allowed="a mask with one image",
            next_step="Give one image, or leave out the mask.",
        )
    multiple, covered = profile.resolution_multiple, _masked_size(inputs, profile)
    if (
        size.width // multiple * multiple != covered.width
        or size.height // multiple * multiple != covered.height
    ):
        raise InvalidRequest(
            f"mask: with a mask, the result has the size of its image, {covered}; {size} was asked for.",
            parameter="mask",
            value=str(size),
            allowed=f"the image's own size, {covered}",
            next_step="Leave out width, height and aspect_ratio, or leave out the mask.",
        )


def _mask_notes(inputs: Inputs) -> tuple[Note, ...]:
    if inputs.mask is None or _same_shape(inputs.mask.picture.size, inputs.images[0].picture.size):
        return ()
    sizes = f"{inputs.mask.picture.size}, the picture {inputs.images[0].picture.size}"
    return (Note(parameter="mask", message=f"The mask has another shape: it is {sizes}, and is cut to fit."),)


def _same_shape(mask: Size, picture: Size) -> bool:
    return abs(mask.aspect / picture.aspect - 1) <= _SHAPE_TOLERANCE
