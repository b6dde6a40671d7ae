"""Declare the tools' parameters with the types and descriptions that hosts see.

Validation is skipped here because the SDK's validator would turn ``true`` into seed 1, and its errors are
written for programmers. The schema keeps the types; the resolver checks the values.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SkipValidation, WithJsonSchema

__all__ = [
    "USUALLY_FOUND",
    "AspectRatio",
    "BatchId",
    "Filename",
    "FindLimit",
    "FindModel",
    "FindOffset",
    "FindSeed",
    "FindText",
    "GuidanceScale",
    "Height",
    "MaxConcurrent",
    "MaxWait",
    "NegativePrompt",
    "NumImages",
    "NumInferenceSteps",
    "OutputFormat",
    "Prompt",
    "Prompts",
    "Quality",
    "Resume",
    "Seed",
    "Seeds",
    "Since",
    "Sweep",
    "Until",
    "Wait",
    "Width",
]

USUALLY_FOUND: Final = 10
"""Default number of images in one result of find_images."""

Prompt = Annotated[
    SkipValidation[str],
    Field(description="Text description of the image.", json_schema_extra={"minLength": 1}),
]
Prompts = Annotated[
    SkipValidation[list[str]],
    Field(description="One text prompt per image.", json_schema_extra={"minItems": 1, "maxItems": 20}),
]
NegativePrompt = Annotated[
    SkipValidation[str | None],
    Field(description="What to avoid. Some models ignore it."),
]
Width = Annotated[SkipValidation[int | None], Field(description="Pixels.")]
Height = Annotated[SkipValidation[int | None], Field(description="Pixels.")]
AspectRatio = Annotated[
    SkipValidation[str | None],
    Field(description='E.g. "16:9"; overrides width/height.'),
]
NumInferenceSteps = Annotated[SkipValidation[int | None], Field(description="Diffusion steps, 1 to 200.")]
GuidanceScale = Annotated[SkipValidation[float | None], Field(description="CFG scale, 0 to 20.")]
Seed = Annotated[
    SkipValidation[int | None],
    Field(description="For reproducibility. Default: random."),
]
Seeds = Annotated[
    SkipValidation[list[int] | None], Field(description="One per prompt. Default: random per image.")
]
Filename = Annotated[
    SkipValidation[str | None],
    Field(description="A plain name, no folders. Default: time and hash."),
]
Quality = Annotated[
    SkipValidation[Literal["draft", "standard", "best"] | None],
    Field(description="Preset for omitted settings: draft is fast, best slow."),
]
OutputFormat = Annotated[
    SkipValidation[Literal["png", "jpeg", "webp"] | None], Field(description="Default: png.")
]
_Value = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]
Sweep = Annotated[
    SkipValidation[dict[str, list[_Value]] | None],
    Field(
        description="Compare settings for one prompt: values for one or two of seed, guidance_scale, "
        "num_inference_steps, quality, aspect_ratio, negative_prompt, such as "
        '{"num_inference_steps": [4, 8], "seed": [1, 2]}.'
    ),
]
MaxConcurrent = Annotated[
    SkipValidation[int | None], Field(description="Images generated at once. Default: by GPU memory.")
]
MaxWait = Annotated[
    SkipValidation[float | None],
    Field(description="Seconds until it returns. Default: 45 or more."),
]
Wait = Annotated[SkipValidation[bool | None], Field(description="Wait for unfinished images.")]
Resume = Annotated[SkipValidation[bool | None], Field(description="Generate the missing images.")]
NumImages = Annotated[SkipValidation[int | None], Field(description="How many images.")]
BatchId = Annotated[SkipValidation[str], Field(description="The batch ID from a result or list_batches.")]
FindText = Annotated[
    SkipValidation[str | None], Field(description='Words in the prompt or file name; "sno*" finds "snow".')
]
FindModel = Annotated[SkipValidation[str | None], Field(description="The model's exact name.")]
FindSeed = Annotated[SkipValidation[int | None], Field(description="The exact seed.")]
Since = Annotated[SkipValidation[str | None], Field(description="A date or time, such as 2026-11-23.")]
Until = Annotated[SkipValidation[str | None], Field(description="Likewise; a date is inclusive.")]
FindLimit = Annotated[SkipValidation[int | None], Field(description="1 to 20.")]
FindOffset = Annotated[SkipValidation[int | None], Field(description="next_offset of the previous result.")]
