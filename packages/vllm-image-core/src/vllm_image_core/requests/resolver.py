"""A resolved request: the caller's values over the profile's, checked, and ready to be sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.extension import extension_format
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import GuidanceField, Profile
from vllm_image_core.models.settings import Preset, Quality
from vllm_image_core.requests import limits
from vllm_image_core.requests.guidance import choose_guidance, choose_negative_prompt
from vllm_image_core.requests.image_request import ImageRequest, OutputFormat
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.size_choice import choose_size
from vllm_image_core.text import one_line

_CHARACTERS_PER_TOKEN: Final = 4  # of English prose, the usual rule of thumb


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest:
    """What will be sent: every value that shapes the picture, none left to the server's defaults.

    Attributes:
        model: The profile's model: a Hugging Face id, or "fallback".
        prompt: As the caller gave it.
        negative_prompt: As it is sent; None when none is sent.
        width: Pixels.
        height: Pixels.
        num_inference_steps: Denoising steps.
        guidance_scale: In the caller's terms.
        guidance_field: The field it is sent in.
        sent_guidance: The value it is sent with.
        guided: Whether it runs a second forward pass at each step: about twice the time.
        seed: The seed, the caller's or the one that was drawn.
        output_format: What the server encodes the picture as.
        quality: The quality whose preset filled in what the caller left out; None for the profile's own.
        notes: What was changed, and what the caller should know.
    """

    model: str
    prompt: str
    negative_prompt: str | None
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    guidance_field: GuidanceField
    sent_guidance: float
    guided: bool
    seed: int
    output_format: OutputFormat = "png"
    quality: Quality | None = None
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    def as_request(self) -> ImageRequest:
        """The request that resolves to this again."""
        return ImageRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            output_format=None if self.output_format == "png" else self.output_format,
        )

    def to_wire(self) -> ImageGenerationRequest:
        """The request as the server takes it: one picture, with steps, guidance and seed."""
        return ImageGenerationRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            n=1,
            size=str(self.size),
            response_format="b64_json",
            output_format=self.output_format,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self._guidance_in("guidance_scale"),
            true_cfg_scale=self._guidance_in("true_cfg_scale"),
            extra_params=self._extra_params(),
            seed=self.seed,
        )

    def _guidance_in(self, field: GuidanceField) -> float | None:
        return self.sent_guidance if field == self.guidance_field else None

    def _extra_params(self) -> dict[str, JsonValue] | None:
        """What only this model's pipeline reads: its guidance, where that has a name of its own."""
        within, _, name = self.guidance_field.partition(".")
        return {name: self.sent_guidance} if within == "extra_params" else None


def resolve(
    request: ImageRequest, profile: Profile, *, draw_seed: Callable[[], int], input_images: int = 0
) -> ResolvedRequest:
    """Check a request, and fill in what the caller left to the model.

    The caller's value wins over the quality's preset, and that over the profile's. Guidance goes into the
    field that the model reads. Resolving the result again, as a request, changes nothing.

    Args:
        request: The caller's own values.
        profile: The model's, or the fallback's.
        draw_seed: Called once when the request has no seed, and nothing else is wrong; 0 to 4294967295.
        input_images: How many pictures come with the request, to be edited or combined.

    Raises:
        InvalidRequest: A value that cannot be used, with what is allowed.
    """
    _check_input_images(input_images, profile)
    prompt = limits.prompt(request.prompt, max_characters=profile.max_prompt_characters)
    output_format, format_notes = _output_format(request)
    quality = None if request.quality is None else limits.quality(request.quality)
    preset = profile.preset(quality) if quality else None
    size, size_notes = choose_size(request, profile, preset)
    steps = _steps(request.num_inference_steps, profile, preset)
    guidance = choose_guidance(request.guidance_scale, profile, preset)
    negative, negative_notes = choose_negative_prompt(request.negative_prompt, profile, guided=guidance.runs)
    return ResolvedRequest(
        model=profile.model,
        prompt=prompt,
        negative_prompt=negative,
        width=size.width,
        height=size.height,
        num_inference_steps=steps,
        guidance_scale=guidance.scale,
        guidance_field=profile.guidance_field,
        sent_guidance=guidance.sent,
        guided=guidance.runs,
        seed=draw_seed() if request.seed is None else limits.seed(request.seed),
        output_format=output_format,
        quality=quality if preset else None,
        notes=(
            *_prompt_notes(prompt, profile),
            *format_notes,
            *_quality_notes(quality, preset, profile),
            *size_notes,
            *guidance.notes,
            *negative_notes,
        ),
    )


def _output_format(request: ImageRequest) -> tuple[OutputFormat, tuple[Note, ...]]:
    """The format that was asked for, by its name or by the extension of the file's name."""
    asked = None if request.output_format is None else limits.output_format(request.output_format)
    named = extension_format(request.filename)
    if named is None:
        return asked or "png", ()
    extension, meant = named
    if meant is None:
        return asked or "png", (
            _extension_note(extension, asked or "png", "images are made as png, jpeg or webp"),
        )
    if asked in {None, meant}:
        return meant, ()
    return asked or meant, (_extension_note(extension, asked or meant, f"output_format is {asked}"),)


def _extension_note(extension: str, chosen: OutputFormat, why: str) -> Note:
    message = f"The image is not saved as {one_line(extension)} but as {chosen.upper()}: {why}."
    return Note(parameter="filename", message=message)


def _steps(asked: object, profile: Profile, preset: Preset | None) -> int:
    if asked is not None:
        return limits.steps(asked)
    usual = None if preset is None else preset.num_inference_steps
    return profile.default_steps if usual is None else usual


def _check_input_images(count: int, profile: Profile) -> None:
    most = profile.max_input_images
    if count > most:
        raise InvalidRequest(
            f"{profile.model} takes {most or 'no'} input pictures here, not {count}.",
            parameter="images",
            value=count,
            allowed=f"at most {most} input pictures",
        )
    if not count and not profile.text_to_image:
        raise InvalidRequest(
            f"{profile.model} edits pictures, and makes none from a text alone.",
            parameter="images",
            value=count,
            allowed=f"1 to {most} input pictures",
            next_step="Give it an image to edit, or use a server with a text-to-image model.",
        )


def _quality_notes(quality: Quality | None, preset: Preset | None, profile: Profile) -> tuple[Note, ...]:
    if quality in {None, "standard"} or preset is not None:
        return ()
    message = f"{profile.model} has no settings of its own for quality {quality}; its standard ones are used."
    return (Note(parameter="quality", message=message),)


def _prompt_notes(prompt: str, profile: Profile) -> tuple[Note, ...]:
    tokens = profile.max_prompt_tokens
    if tokens is None or len(prompt) <= tokens * _CHARACTERS_PER_TOKEN:
        return ()
    fate = "what comes after is cut" if profile.overlong_prompt == "cut" else "the server may refuse it"
    message = (
        f"The prompt has {len(prompt)} characters; {profile.model} reads {tokens} tokens, about "
        f"{tokens * _CHARACTERS_PER_TOKEN} characters of English: {fate}."
    )
    return (Note(parameter="prompt", message=message),)
