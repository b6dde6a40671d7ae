"""The tools' parameters as hosts see them; the values are checked by the resolver, in one place.

Validation is skipped here because the SDK's validator would turn ``true`` into seed 1, and would answer with
text that is meant for programmers. The schema keeps the types; the resolver refuses what does not fit.
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
"""Pictures in one answer of find_images where nobody says how many."""

Prompt = Annotated[
    SkipValidation[str], Field(description="What the picture shows.", json_schema_extra={"minLength": 1})
]
Prompts = Annotated[
    SkipValidation[list[str]],
    Field(description="One prompt per picture.", json_schema_extra={"minItems": 1, "maxItems": 20}),
]
NegativePrompt = Annotated[
    SkipValidation[str | None],
    Field(description="What to avoid. Some models ignore it."),
]
Width = Annotated[SkipValidation[int | None], Field(description="Pixels.")]
Height = Annotated[SkipValidation[int | None], Field(description="Pixels.")]
AspectRatio = Annotated[
    SkipValidation[str | None],
    Field(description='Such as "16:9"; wins over width and height.'),
]
NumInferenceSteps = Annotated[SkipValidation[int | None], Field(description="1 to 200.")]
GuidanceScale = Annotated[SkipValidation[float | None], Field(description="0 to 20.")]
Seed = Annotated[
    SkipValidation[int | None],
    Field(description="The same seed gives the same picture. Default: random."),
]
Seeds = Annotated[
    SkipValidation[list[int] | None], Field(description="One per prompt. Default: random for each.")
]
Filename = Annotated[
    SkipValidation[str | None],
    Field(description="A plain name, no folders. Default: time and hash."),
]
Quality = Annotated[
    SkipValidation[Literal["draft", "standard", "best"] | None],
    Field(description="Settings for what is left out: draft is quick, best slow."),
]
OutputFormat = Annotated[
    SkipValidation[Literal["png", "jpeg", "webp"] | None], Field(description="Default: png.")
]
_Value = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})]
Sweep = Annotated[
    SkipValidation[dict[str, list[_Value]] | None],
    Field(
        description="Compare settings of one prompt: values of one or two of seed, guidance_scale, "
        "num_inference_steps, quality, aspect_ratio, negative_prompt, such as "
        '{"num_inference_steps": [4, 8], "seed": [1, 2]}.'
    ),
]
MaxConcurrent = Annotated[
    SkipValidation[int | None], Field(description="Pictures under way at once. Default: by GPU memory.")
]
MaxWait = Annotated[
    SkipValidation[float | None],
    Field(description="Seconds until it answers. Default: 45 or more."),
]
Wait = Annotated[SkipValidation[bool | None], Field(description="Wait for what is not done.")]
Resume = Annotated[SkipValidation[bool | None], Field(description="Make what is missing.")]
NumImages = Annotated[SkipValidation[int | None], Field(description="How many pictures.")]
BatchId = Annotated[SkipValidation[str], Field(description="As a result told it, or list_batches.")]
FindText = Annotated[
    SkipValidation[str | None], Field(description='Words of prompt or file name; "sno*" finds "snow".')
]
FindModel = Annotated[SkipValidation[str | None], Field(description="The model's exact name.")]
FindSeed = Annotated[SkipValidation[int | None], Field(description="The exact seed.")]
Since = Annotated[SkipValidation[str | None], Field(description="A date or time, such as 2026-11-23.")]
Until = Annotated[SkipValidation[str | None], Field(description="Likewise; a date is included.")]
FindLimit = Annotated[SkipValidation[int | None], Field(description="1 to 20.")]
FindOffset = Annotated[SkipValidation[int | None], Field(description="A result's next_offset.")]
