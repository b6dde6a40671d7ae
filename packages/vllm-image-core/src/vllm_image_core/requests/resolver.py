"""Resolve a request: check the caller's values, and fill in the rest from the model's profile."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel
from vllm_omni_client.edits import ImageEditRequest
from vllm_omni_client.models import ImageGenerationRequest

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.imaging.extension import extension_format
from vllm_image_core.imaging.size import Size
from vllm_image_core.models.profile import GuidanceField, Profile
from vllm_image_core.models.quality import Quality
from vllm_image_core.models.settings import Preset
from vllm_image_core.requests import limits
from vllm_image_core.requests.fields import (
    PLAIN_FIELDS,
    REQUEST_FIELDS,
    OutputFormat,
    PlainFields,
    RequestField,
    generation_fields,
    plain_values,
)
from vllm_image_core.requests.guidance import choose_guidance, choose_negative_prompt
from vllm_image_core.requests.image_request import ImageRequest, Task
from vllm_image_core.requests.lora import read_lora
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.receipt import Receipt, receipt
from vllm_image_core.requests.size_choice import choose_size
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.styling import apply_style
from vllm_image_core.text import one_line

if TYPE_CHECKING:
    from vllm_image_core.imaging.xmp import DigitalSource
    from vllm_image_core.requests.input_picture import InputPicture

_CHARACTERS_PER_TOKEN: Final = 4  # of English prose, the usual rule of thumb


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedRequest(PlainFields):
    """What will be sent: every value that shapes the image, with nothing left to the server's defaults.

    Attributes:
        model: The profile's model: a Hugging Face id, or "fallback".
        prompt: The caller's prompt.
        negative_prompt: As it is sent; None if none is sent.
        width: Pixels.
        height: Pixels.
        num_inference_steps: Denoising steps.
        guidance_scale: The value in the caller's terms.
        guidance_field: The field it is sent in.
        sent_guidance: The value it is sent with.
        guided: Whether guidance is on, with a second forward pass at each step: about twice the time.
        seed: The seed, given by the caller or drawn.
        output_format: The format in which the server encodes the image.
        quality: The quality whose preset filled in what the caller left out; None if the profile's default
            settings did.
        style: The name of the style that was applied.
        styled: The fields that the style filled in.
        notes: What was changed, and what the caller should know.
    """

    task: ClassVar[Task] = "generation"
    digital_source: "ClassVar[DigitalSource]" = "trainedAlgorithmicMedia"

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
    style: str | None = None
    styled: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @property
    def pixels(self) -> int:
        """How many pixels the image has."""
        return self.width * self.height

    @property
    def inputs_by_role(self) -> "tuple[tuple[str, InputPicture], ...]":
        """Each input image with its role; a generation has none."""
        return ()

    @property
    def steps_run(self) -> int:
        """How many of the steps the model runs."""
        return self.num_inference_steps

    @property
    def layer_count(self) -> int | None:
        """How many layers the image is split into; None if it is not split."""
        return None

    def as_request(self) -> ImageRequest:
        """Return a request that resolves to this again."""
        return ImageRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            width=self.width,
            height=self.height,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            seed=self.seed,
            output_format=None if self.output_format == "png" else self.output_format,
            style=None if self.style is None else Style(name=self.style),
            **plain_values(self),
        )

    def to_wire(self, *, model: str | None = None) -> ImageGenerationRequest:
        """Return the request for the server's `model`: one image, with steps, guidance and seed."""
        values = self._shared_wire_values() | self._plain_wire_values(generation_fields())
        values["extra_params"] = {**self._guidance_in_extra_params(), **(self.extra_params or {})} or None
        return ImageGenerationRequest(**values, model=model)

    def sent_request(self, *, model: str | None = None) -> ImageGenerationRequest | ImageEditRequest:
        """Return what is sent to the server's `model`, without the images of an edit."""
        return self.to_wire(model=model)

    def _shared_wire_values(self) -> dict[str, Any]:
        """Return the fields that generations and edits both have, as they are sent."""
        return {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "n": 1,
            "size": str(self.size),
            "response_format": "b64_json",
            "output_format": self.output_format,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self._guidance_in("guidance_scale"),
            "true_cfg_scale": self._guidance_in("true_cfg_scale"),
            "seed": self.seed,
        }

    def _plain_wire_values(self, chosen: Iterable[RequestField]) -> dict[str, Any]:
        """Return some plain fields as they are sent."""
        values = {each.wire: getattr(self, each.name) for each in chosen if each.wire}
        return values | ({"lora": read_lora(self.lora).to_wire()} if self.lora else {})

    def sent_values(self, wire: BaseModel | None = None) -> dict[str, object]:
        """Return what is sent and shapes the image, as JSON values; `wire` is the request, if it is built."""
        sent = wire or self.sent_request()
        return sent.model_dump(mode="json", exclude_none=True, exclude={"model", "user"})

    def facts(self) -> dict[str, object]:
        """Return what an image file records about an edit in addition to what it records of a generation."""
        return {}

    def receipt(self, request: ImageRequest) -> Receipt:
        """Compare the request that this was resolved from with what is sent."""
        return receipt(request, self)

    def _guidance_in(self, field: GuidanceField) -> float | None:
        return self.sent_guidance if field == self.guidance_field else None

    def _guidance_in_extra_params(self) -> dict[str, float]:
        """Return the guidance under the model's own name, if its pipeline reads it from `extra_params`."""
        within, _, name = self.guidance_field.partition(".")
        return {name: self.sent_guidance} if within == "extra_params" else {}


def resolve(
    request: ImageRequest,
    profile: Profile,
    *,
    draw_seed: Callable[[], int],
    input_images: int = 0,
    known: Iterable[Profile] = (),
) -> ResolvedRequest:
    """Check a request and fill in what the caller left to the model.

    The caller's value overrides the quality's preset, which overrides the profile. Guidance goes into the
    field that the model reads. Resolving the result again, as a request, changes nothing.

    Args:
        request: The caller's own values.
        profile: The model's profile, or the fallback.
        draw_seed: Called once if the request has no seed and is otherwise valid; returns 0 to 4294967295.
        input_images: How many images come with the request, to be edited or combined.
        known: All profiles, to name models that could do what this one cannot.

    Raises:
        InvalidRequest: A value cannot be used; the error says what is allowed.
    """
    _check_input_images(input_images, profile)
    request, styled, style_notes = apply_style(request, profile)
    prompt = limits.prompt(request.prompt, max_characters=profile.max_prompt_characters)
    output_format, format_notes = _output_format(request)
    quality: Quality | None = None if request.quality is None else limits.check("quality", request.quality)
    preset = profile.preset(quality) if quality else None
    size, size_notes = choose_size(request, profile, preset)
    steps = _steps(request.num_inference_steps, profile, preset)
    guidance = choose_guidance(request.guidance_scale, profile, preset)
    negative, negative_notes = choose_negative_prompt(request.negative_prompt, profile, guided=guidance.runs)
    _check_background(request.background, profile, known)
    plain, plain_notes = _plain(request, profile, edits=input_images > 0)
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
        seed=draw_seed() if request.seed is None else limits.check("seed", request.seed),
        output_format=output_format,
        quality=quality if preset else None,
        style=None if request.style is None else str(request.style),
        styled=styled,
        notes=(
            *style_notes,
            *_prompt_notes(prompt, profile),
            *format_notes,
            *_quality_notes(quality, preset, profile),
            *size_notes,
            *guidance.notes,
            *negative_notes,
            *plain_notes,
        ),
        **plain,
    )


def _plain(
    request: ImageRequest, profile: Profile, *, edits: bool
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Check the plain fields, and drop those that this kind of request does not have, with a note on each."""
    values = {name: limits.check(name, value) for name, value in plain_values(request).items()}
    if "lora" in values:
        values["lora"] = str(read_lora(values["lora"]).found_in(profile))
    _check_extra_params(values.get("extra_params", {}), profile)
    dropped = [
        each.name
        for each in PLAIN_FIELDS
        if each.name in values and not (each.in_edits if edits else each.in_generations)
    ]
    kind = "edit requests" if edits else "requests without input images"
    notes = (
        Note(parameter=name, message=f"{name} was dropped: {kind} have no field for it.") for name in dropped
    )
    return {name: value for name, value in values.items() if name not in dropped}, tuple(notes)


def _check_background(background: object, profile: Profile, known: Iterable[Profile]) -> None:
    """Refuse a transparent background if the model does not make layers; the server would ignore it."""
    if background is None or limits.check("background", background) != "transparent":
        return
    if profile.edit_rules.default_layers is not None:
        return
    able = [each.model for each in known if each.edit_rules.default_layers is not None]
    raise InvalidRequest(
        f"{profile.model} makes opaque images. Models that split an image into transparent layers: "
        f"{', '.join(able) or 'none of the known models'}.",
        parameter="background",
        value=background,
        allowed="auto or opaque with this model",
        next_step="Leave background out, or edit an image with layers on a server with one of these models.",
    )


def _check_extra_params(extra: Mapping[str, Any], profile: Profile) -> None:
    """Refuse what the server would overwrite, or what has a parameter of its own."""
    guidance = profile.guidance_field.partition(".")[2]
    own = {each.name: each.name for each in REQUEST_FIELDS} | {guidance: "guidance_scale"}
    for name in extra:
        if name in own:
            raise InvalidRequest(
                f"extra_params: {one_line(name)} is not one of the model's own parameters; give it as "
                f"{own[name]}.",
                parameter="extra_params",
                value=name,
                allowed="names that are not parameters themselves",
                next_step=f"Give {own[name]} instead, outside extra_params.",
            )


def _output_format(request: ImageRequest) -> tuple[OutputFormat, tuple[Note, ...]]:
    """Choose the format that was requested by name, or by the extension of the filename."""
    requested = None if request.output_format is None else limits.output_format(request.output_format)
    named = extension_format(request.filename)
    if named is None:
        return requested or "png", ()
    extension, meant = named
    if meant is None:
        return requested or "png", (
            _extension_note(extension, requested or "png", "images can be png, jpeg or webp"),
        )
    if requested in {None, meant}:
        return meant, ()
    return requested or meant, (
        _extension_note(extension, requested or meant, f"output_format is {requested}"),
    )


def _extension_note(extension: str, chosen: OutputFormat, why: str) -> Note:
    message = f"The image is saved as {chosen.upper()}, not as {one_line(extension)}: {why}."
    return Note(parameter="filename", message=message)


def _steps(requested: object, profile: Profile, preset: Preset | None) -> int:
    if requested is not None:
        return limits.check("num_inference_steps", requested)
    usual = None if preset is None else preset.num_inference_steps
    return profile.default_steps if usual is None else usual


def _check_input_images(count: int, profile: Profile) -> None:
    most = profile.max_input_images
    if count > most:
        raise InvalidRequest(
            f"{profile.model} accepts at most {most} input images here, not {count}."
            if most
            else f"{profile.model} does not accept input images here.",
            parameter="images",
            value=count,
            allowed=f"at most {most} input images" if most else "no input images",
        )
    if not count and not profile.text_to_image:
        raise InvalidRequest(
            f"{profile.model} edits images; it does not generate them from text alone.",
            parameter="images",
            value=count,
            allowed=f"1 to {most} input images",
            next_step="Give it an image to edit, or use a server with a text-to-image model.",
        )


def _quality_notes(quality: Quality | None, preset: Preset | None, profile: Profile) -> tuple[Note, ...]:
    if quality in {None, "standard"} or preset is not None:
        return ()
    message = f"{profile.model} has no settings for quality {quality}; its standard settings are used."
    return (Note(parameter="quality", message=message),)


def _prompt_notes(prompt: str, profile: Profile) -> tuple[Note, ...]:
    tokens = profile.max_prompt_tokens
    if tokens is None or len(prompt) <= tokens * _CHARACTERS_PER_TOKEN:
        return ()
    fate = "the rest is cut off" if profile.overlong_prompt == "cut" else "the server may refuse it"
    message = (
        f"The prompt has {len(prompt)} characters; {profile.model} reads {tokens} tokens, about "
        f"{tokens * _CHARACTERS_PER_TOKEN} characters of English: {fate}."
    )
    return (Note(parameter="prompt", message=message),)
