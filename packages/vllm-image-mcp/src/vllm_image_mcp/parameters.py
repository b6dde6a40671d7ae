"""The tools' parameters as hosts see them; the values are checked by the resolver, in one place.

Validation is skipped here because the SDK's validator would turn ``true`` into seed 1, and would answer with
text that is meant for programmers. The schema keeps the types; the resolver refuses what does not fit.
"""

from typing import Annotated, Literal

from pydantic import Field, SkipValidation

__all__ = [
    "AspectRatio",
    "BatchId",
    "Filename",
    "GuidanceScale",
    "Height",
    "MaxConcurrent",
    "NegativePrompt",
    "NumImages",
    "NumInferenceSteps",
    "Prompt",
    "Prompts",
    "Quality",
    "Seed",
    "Seeds",
    "Width",
]

Prompt = Annotated[
    SkipValidation[str], Field(description="What the picture shows.", json_schema_extra={"minLength": 1})
]
Prompts = Annotated[
    SkipValidation[list[str]],
    Field(description="One prompt per picture.", json_schema_extra={"minItems": 1, "maxItems": 20}),
]
NegativePrompt = Annotated[
    SkipValidation[str | None],
    Field(description="What to avoid. Ignored, with a note, by models that take none."),
]
Width = Annotated[
    SkipValidation[int | None], Field(description="Pixels; a multiple of 16. Default: the model's.")
]
Height = Annotated[
    SkipValidation[int | None], Field(description="Pixels; a multiple of 16. Default: the model's.")
]
AspectRatio = Annotated[
    SkipValidation[str | None],
    Field(description='Such as "16:9"; wins over width and height. See list_presets.'),
]
NumInferenceSteps = Annotated[
    SkipValidation[int | None], Field(description="1 to 200. Default: the model's.")
]
GuidanceScale = Annotated[SkipValidation[float | None], Field(description="0 to 20. Default: the model's.")]
Seed = Annotated[
    SkipValidation[int | None],
    Field(description="The same seed and parameters give the same picture. Default: random."),
]
Seeds = Annotated[
    SkipValidation[list[int] | None], Field(description="One seed per prompt. Default: random for each.")
]
Filename = Annotated[
    SkipValidation[str | None],
    Field(description="A plain file name, without folders. Default: time and a hash."),
]
Quality = Annotated[
    SkipValidation[Literal["draft", "standard", "best"] | None],
    Field(description="Settings for what is left out: draft is quick, best the publisher's."),
]
MaxConcurrent = Annotated[
    SkipValidation[int | None], Field(description="Pictures under way at once. Default: by GPU memory.")
]
NumImages = Annotated[SkipValidation[int], Field(description="How many pictures.")]
BatchId = Annotated[SkipValidation[str], Field(description="As batch_generate told it.")]
