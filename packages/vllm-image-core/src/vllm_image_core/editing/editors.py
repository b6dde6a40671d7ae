"""Editors: which models can do an edit, as the registry knows them, to be named where one cannot."""

from collections.abc import Callable, Iterable
from typing import Final

from vllm_image_core.edit import MOST_INPUTS, EditRequest
from vllm_image_core.editing.rules import EditRules
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.profile import Profile

__all__ = ["check_editor"]

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
            raise _refused(parameter, given, profile, _named(profiles, reads))


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
    elif profile.known:
        message = f"{profile.model} edits no pictures: it makes them from a text alone."
    else:
        message = "The loaded model is not known, and so it is not known whether it edits pictures."
    raise InvalidRequest(
        f"{message} Models that edit {pictures}: {_listed(able)}." if able else message,
        parameter="images",
        value=count,
        allowed=f"at most {most} input pictures" if most else "no input pictures with this model",
        next_step=_next_step(profile, most) if able else f"Give at most {most or MOST_INPUTS} pictures.",
    )


def _next_step(profile: Profile, most: int) -> str:
    if most:
        return "Give fewer pictures, or use a server with one of these models."
    if profile.known:
        return "Use a server with one of these models, or describe the whole picture and generate it."
    return "Use a server with one of these models, or give the model a profile with max_input_images."


def _named(profiles: tuple[Profile, ...], reads: Callable[[EditRules], bool]) -> str:
    return _listed([each.model for each in profiles if each.max_input_images and reads(each.edit_rules)])


def _refused(parameter: str, value: object, profile: Profile, able: str) -> InvalidRequest:
    return InvalidRequest(
        f"{profile.model} reads no {parameter}, and would ignore it. Models that do: {able}.",
        parameter=parameter,
        value=value,
        allowed=f"no {parameter} with this model",
        next_step=f"Leave {parameter} out, or use a server with one of these models.",
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}" if names else "none that is known"
