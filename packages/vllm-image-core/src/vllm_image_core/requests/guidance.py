"""Map the caller's `guidance_scale` and negative prompt to the fields the model's pipeline reads.

Callers always use `guidance_scale`. FLUX.2-klein and Z-Image read that field. Qwen-Image reads
`true_cfg_scale`, and only together with a negative prompt, for which a single space is enough. It treats a
`true_cfg_scale` of 0 as not set, so 1 switches guidance off. BAGEL and SenseNova-U1 read an entry of
`extra_params`, which edit requests do not have.
"""

from dataclasses import dataclass
from typing import Final

from vllm_image_core.models.profile import Profile
from vllm_image_core.models.settings import Preset
from vllm_image_core.requests import limits
from vllm_image_core.requests.note import Note

EXTRA: Final = "extra_params."
"""Prefix of a guidance field that is an entry of `extra_params`."""
BLANK: Final = " "
"""An empty negative prompt (source: the README of Qwen-Image)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """How strongly the image follows the prompt.

    Attributes:
        scale: The value in the caller's terms.
        sent: The value sent in the profile's `guidance_field`.
        runs: Whether guidance is on, which costs a second forward pass at each step.
        notes: What the caller should know.
    """

    scale: float
    sent: float
    runs: bool
    notes: tuple[Note, ...] = ()


def choose_guidance(requested: object, profile: Profile, preset: Preset | None = None) -> Guidance:
    """Use the caller's guidance scale; if it is None, the preset's, or otherwise the profile's.

    Guidance is never switched on for a model known to be distilled: it would take twice the time for a worse
    image.

    Raises:
        InvalidRequest: The guidance scale is not a number from 0 to 20.
    """
    scale = _usual(profile, preset) if requested is None else limits.check("guidance_scale", requested)
    usual = profile.default_guidance_scale
    is_distilled = profile.is_known and profile.type == "distilled"
    if is_distilled and profile.is_guided(scale) > profile.is_guided(usual):
        return Guidance(scale=usual, sent=usual, runs=False, notes=(_not_sent(scale, profile),))
    runs = profile.is_guided(scale)
    sent = scale if runs or not _off_in_one_way(profile) else profile.guidance_off_at
    return Guidance(scale=scale, sent=sent, runs=runs, notes=_guidance_notes(scale, sent, profile))


def _off_in_one_way(profile: Profile) -> bool:
    """Whether guidance is switched off only by `guidance_off_at`, not by smaller values."""
    return bool(profile.guidance_fixed) or profile.guidance_field != "guidance_scale"


def _usual(profile: Profile, preset: Preset | None) -> float:
    if preset is None or preset.guidance_scale is None:
        return profile.default_guidance_scale
    return preset.guidance_scale


def choose_negative_prompt(
    requested: object, profile: Profile, *, guided: bool
) -> tuple[str | None, tuple[Note, ...]]:
    """Return the negative prompt to send (None to send none), and notes on what was changed.

    Raises:
        InvalidRequest: It is not a string, is too long, or has characters that are not allowed in a prompt.
    """
    if requested is None:
        return (BLANK if guided and _is_needed(profile) else None), ()
    given = limits.text("negative_prompt", requested, max_characters=profile.max_prompt_characters)
    named = bool(given.strip())
    if not profile.supports_negative_prompt:
        return None, (_not_supported(profile),) if named else ()
    if not named and _is_needed(profile):
        return (BLANK if guided else None), ()
    if named and not guided:
        return given, (
            _negative_note("negative_prompt has no effect: this guidance_scale turns guidance off."),
        )
    return given, ()


def _is_needed(profile: Profile) -> bool:
    return profile.negative_prompt == "needed_for_guidance"


def _guidance_notes(scale: float, sent: float, profile: Profile) -> tuple[Note, ...]:
    if sent != scale:
        field = profile.guidance_field
        return (
            _guidance_note(f"guidance_scale {scale:g} turns guidance off; it is sent as {field} {sent:g}."),
        )
    return ()


def _not_sent(scale: float, profile: Profile) -> Note:
    return _guidance_note(
        f"guidance_scale {scale:g} is not sent: {profile.model} is distilled, and above "
        f"{profile.guidance_off_at:g} an image takes about twice the time and is likely worse. "
        f"{profile.default_guidance_scale:g} is sent instead."
    )


def _guidance_note(message: str) -> Note:
    return Note(parameter="guidance_scale", message=message)


def _not_supported(profile: Profile) -> Note:
    return _negative_note(f"{profile.model} does not support negative prompts; negative_prompt was dropped.")


def _negative_note(message: str) -> Note:
    return Note(parameter="negative_prompt", message=message)
