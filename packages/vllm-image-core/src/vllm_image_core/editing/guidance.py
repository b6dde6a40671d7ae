"""The guidance of an edit, whose form has no place for what some models read."""

from dataclasses import replace

from vllm_image_core.note import Note
from vllm_image_core.parameters.guidance import EXTRA
from vllm_image_core.profile import Profile
from vllm_image_core.resolver import ResolvedRequest

__all__ = ["has_no_place", "in_an_edit"]


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
        resolved, guidance_scale=usual, sent_guidance=usual, guided=profile.guided(usual), notes=notes
    )


def _not_sent(scale: float, profile: Profile) -> Note:
    message = (
        f"guidance_scale {scale:g} is not sent: {profile.model} reads {profile.guidance_field}, for which an "
        f"edit has no field; the server takes {profile.default_guidance_scale:g}."
    )
    return Note(parameter="guidance_scale", message=message)
