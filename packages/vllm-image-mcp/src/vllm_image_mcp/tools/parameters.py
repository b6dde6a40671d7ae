"""Declare the tools' parameters with the types and descriptions that hosts see.

Validation is skipped here because the SDK's validator would turn ``true`` into seed 1, and its errors are
written for programmers. The schema keeps the types; the resolver checks the values.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, SkipValidation, WithJsonSchema
from vllm_image_core.requests.fields import (
    OutputFormat,
    Surface,
    field_named,
    fields_shown_in,
    with_named_parameters,
)

USUALLY_FOUND: Final = 10
"""Default number of images in one result of find_images."""

_Tool = TypeVar("_Tool", bound=Callable[..., Any])


def _described(name: str) -> Any:  # noqa: ANN401 - as pydantic has it
    """The schema's description of a request field."""
    return Field(description=field_named(name).description)


def with_fields_of(tool: Surface) -> Callable[[_Tool], _Tool]:
    """Give a tool that takes `**values` a parameter for each request field that it has."""
    return with_named_parameters(
        {
            each.name: Annotated[SkipValidation[each.type | None], _described(each.name)]
            for each in fields_shown_in(tool)
        }
    )


_Prompt = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
Prompt = Annotated[
    SkipValidation[str],
    Field(description=field_named("prompt").description, json_schema_extra={"minLength": 1}),
]
Prompts = Annotated[
    SkipValidation[list[_Prompt]],
    Field(
        description='Text, or objects: {"prompt": "a fox", "size": "512x768", "filename": "fox"}.',
        json_schema_extra={"minItems": 1, "maxItems": 20},
    ),
]
Width = Annotated[SkipValidation[int | None], _described("width")]
Height = Annotated[SkipValidation[int | None], _described("height")]
NumInferenceSteps = Annotated[SkipValidation[int | None], _described("num_inference_steps")]
Seeds = Annotated[
    SkipValidation[list[int] | None], Field(description="One per prompt. Default: random per image.")
]
Count = Annotated[SkipValidation[int | None], Field(description="Images per prompt, with other seeds.")]
Sweep = Annotated[
    SkipValidation[dict[str, list[Any]] | None],
    WithJsonSchema({"type": "object"}),
    Field(
        description="Per prompt, all combinations of up to 3 parameters or words to replace: "
        '{"seed": [1, 2], "size": ["512x512", "768x512"], "red": ["red", "blue"]}.'
    ),
]
Zip = Annotated[SkipValidation[bool | None], Field(description="Pair swept values.")]
UseWildcards = Annotated[SkipValidation[bool | None], Field(description="Expand {red|blue} and __file__.")]
DryRun = Annotated[SkipValidation[bool | None], Field(description="Only estimate time and disk.")]
MaxConcurrent = Annotated[
    SkipValidation[int | None], Field(description="Images generated at once. Default: by GPU memory.")
]
MaxWait = Annotated[
    SkipValidation[float | None],
    Field(description="Seconds to wait."),
]
Wait = Annotated[SkipValidation[bool | None], Field(description="Wait for unfinished images.")]
Resume = Annotated[SkipValidation[bool | None], Field(description="Generate the missing images.")]
NumImages = Annotated[SkipValidation[int | None], Field(description="How many images.")]
BatchId = Annotated[SkipValidation[str], Field(description="From a result or list_batches.")]
FindText = Annotated[
    SkipValidation[str | None], Field(description='Words in the prompt or file name; "sno*" finds "snow".')
]
FindModel = Annotated[SkipValidation[str | None], Field(description="The model's exact name.")]
FindSeed = Annotated[SkipValidation[int | None], Field(description="The exact seed.")]
Since = Annotated[SkipValidation[str | None], Field(description="A date or time, such as 2026-11-23.")]
Until = Annotated[SkipValidation[str | None], Field(description="Likewise; a date is inclusive.")]
FindBatch = Annotated[SkipValidation[str | None], Field(description="Of this batch.")]
FindLimit = Annotated[SkipValidation[int | None], Field(description="1 to 20.")]
FindOffset = Annotated[SkipValidation[int | None], Field(description="next_offset of the previous result.")]
FindVerdict = Annotated[
    SkipValidation[str | None],
    Field(description="Kept, or in the bin.", json_schema_extra={"enum": ["keep", "reject"]}),
]
FindStars = Annotated[SkipValidation[int | None], Field(description="At least, 1 to 5.")]
FindTag = Annotated[SkipValidation[str | None], Field(description="Exact.")]
NewSeeds = Annotated[SkipValidation[bool | None], Field(description="Parameters for more like these.")]
RatedNames = Annotated[SkipValidation[list[str] | None], Field(description="Paths or names.")]
RatedBatch = Annotated[SkipValidation[str | None], Field(description="Or a batch, with indexes.")]
Indexes = Annotated[SkipValidation[list[int] | None], Field(description="On its sheet, from 0.")]
RatingVerdict = Annotated[
    SkipValidation[str | None],
    Field(description="clear takes back.", json_schema_extra={"enum": ["keep", "reject", "clear"]}),
]
Stars = Annotated[SkipValidation[int | None], Field(description="1 to 5; 0: none.")]
Tag = Annotated[SkipValidation[str | None], Field(description="New tag.")]
ExportTo = Annotated[SkipValidation[str | None], Field(description="Folder for copies.")]
ExportFormat = Annotated[SkipValidation[OutputFormat | None], Field(description="Of the copies.")]
