"""Collect the parameters of images for results, under the tools' names and with long prompts cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.storage.record import Record

__all__ = [
    "LONGEST_PROMPT",
    "Parameters",
    "common_parameters",
    "differing_parameters",
    "parameters_of_image",
    "parameters_of_record",
    "parameters_of_request",
    "shorten",
]

Parameters = dict[str, str | int | float]

LONGEST_PROMPT: Final = 1_000
"""Maximum characters of a prompt in a result: twenty complete prompts could exceed a host's limit."""


def shorten(text: str) -> str:
    """Text, cut if it is too long to repeat in a result."""
    return text if len(text) <= LONGEST_PROMPT else f"{text[: LONGEST_PROMPT - 1]}…"


def parameters_of_image(image: GeneratedImage) -> Parameters:
    """What an image was generated with, besides its prompt and seed."""
    sent = image.request
    return _without_none(
        negative_prompt=sent.negative_prompt,
        width=sent.width,
        height=sent.height,
        num_inference_steps=sent.num_inference_steps,
        guidance_scale=sent.guidance_scale,
        output_format=None if sent.output_format == "png" else sent.output_format,
    )


def parameters_of_request(request: ImageRequest) -> Parameters:
    """The parameters given in a request for an image that does not exist yet."""
    return _without_none(
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        output_format=request.output_format,
    )


def parameters_of_record(record: Record) -> Parameters:
    """The parameters to generate an image of the folder again, as far as its file records them.

    The input images of an edit are not included.
    """
    return _without_none(
        prompt=record.prompt,
        negative_prompt=record.negative_prompt,
        width=record.width,
        height=record.height,
        num_inference_steps=record.num_inference_steps,
        guidance_scale=record.guidance_scale,
        seed=record.seed,
        output_format=record.output_format,
    )


def common_parameters(settings: Iterable[Mapping[str, str | int | float]]) -> Parameters:
    """The parameters that all of them share."""
    first, *others = list(settings) or [Parameters()]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def differing_parameters(same: Mapping[str, str | int | float], settings: Parameters) -> Parameters:
    """The parameters that differ from the shared ones."""
    return {name: value for name, value in settings.items() if same.get(name) != value}


def _without_none(**values: str | float | None) -> Parameters:
    return {
        name: shorten(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }
