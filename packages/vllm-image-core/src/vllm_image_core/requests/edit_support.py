"""Edit support: refuse an edit that the model cannot do, and name the models that can."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.models.profile import Profile
from vllm_image_core.models.settings import EditRules
from vllm_image_core.requests.edit_request import MOST_INPUTS, EditRequest

_NAMED: Final = 6
_READS: Final[Mapping[str, Callable[[EditRules], bool]]] = {
    **dict.fromkeys(("mask", "mask_box", "mask_polygon", "outpaint"), lambda rules: rules.mask),
    "upscale": lambda rules: rules.strength == "read",
    "reference_image": lambda rules: rules.reference_image,
    "layers": lambda rules: rules.default_layers is not None,
    "resolution": lambda rules: bool(rules.resolutions),
}
"""Whether a model can do what a parameter asks for."""


def check_edit_support(request: EditRequest, profile: Profile, known: Iterable[Profile]) -> None:
    """Refuse an edit that the model cannot do, before any image is read.

    Args:
        request: The caller's request; its images may be unread.
        profile: The model's profile.
        known: All profiles, to name models that could do it.

    Raises:
        InvalidRequest: The model does not edit images, or fewer of them, or does not support a mask,
        reference
            image, layers or resolution; the message names models that do.
    """
    profiles = tuple(known)
    _check_count(request.count, profile, profiles)
    for parameter, reads in _READS.items():
        given = getattr(request, parameter)
        if given is not None and not reads(profile.edit_rules):
            raise _refusal(parameter, given, profile, _names_of_able(profiles, reads))


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
