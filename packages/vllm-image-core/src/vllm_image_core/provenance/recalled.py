"""A recalled request: how a picture was made, read back from its own file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vllm_image_core.edit import EditRequest
from vllm_image_core.editing.recall import RecalledInput, as_edit, found_in, recalled_inputs
from vllm_image_core.errors import NotRecalled
from vllm_image_core.formats.signature import described, picture_format
from vllm_image_core.picture import read_text
from vllm_image_core.provenance import infotext, recipe
from vllm_image_core.provenance.comfyui import facts_of_prompt
from vllm_image_core.provenance.comfyui_workflow import facts_of_workflow
from vllm_image_core.provenance.facts import Facts, Tool, bounded_settings, request_of
from vllm_image_core.provenance.invokeai import facts_of_dream, facts_of_metadata, facts_of_sd_metadata
from vllm_image_core.provenance.json_parameters import facts_of_comment, facts_of_json
from vllm_image_core.provenance.untrusted_json import json_object
from vllm_image_core.request import ImageRequest
from vllm_image_core.text import one_line

__all__ = ["Recalled", "recall", "recalled_edit"]

_MAX_FILE_BYTES: Final = 268_435_456
"""256 MiB: the largest picture that a server makes has 146 MB, unpacked."""

_SHOWN_PATH_CHARACTERS: Final = 300
_MAX_MODEL_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """How a picture was made, as its file says it; anybody may have written that.

    Attributes:
        request: What would be asked for to make it again. Change it by `dataclasses.replace`, and pass it to
            `Studio.make`, which checks it as any other. Of an edit it is an `EditRequest` without pictures;
            `Studio.recall` puts those in that are still in its folder, unchanged.
        tool: Which program wrote it.
        model: The model's name there, on one line; None where it is not told. A text, not a path to open.
        settings: What else is told, shortened, to be read by a person: sampler, scheduler, version.
        notes: What could not be taken over, and why.
        inputs: The pictures that an edit started from; empty for a generation.
    """

    request: ImageRequest
    tool: Tool
    model: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    inputs: tuple[RecalledInput, ...] = ()


def recall(file: Path | str | bytes) -> Recalled:
    """Read how a picture was made from its own file: ours, or one of AUTOMATIC1111 and those like it.

    Those are Forge, SD.Next, ComfyUI, InvokeAI, Fooocus, Civitai and NovelAI.

    Waits for the disk: ``await asyncio.to_thread(recall, path)`` where an event loop runs, or
    `Studio.recall`.

    Args:
        file: A PNG, JPEG or WebP: its path, or its content.

    Raises:
        NotRecalled: The file cannot be read, is no picture, or does not tell how it was made.
    """
    data = file if isinstance(file, bytes) else _content(Path(file))
    facts = next((facts for facts in _readings(read_text(data)) if facts.some), None)
    if facts is None:
        what = "The picture" if picture_format(data) else f"What is no picture, {described(data)},"
        raise NotRecalled(f"{what} does not tell how it was made.")
    request, notes = request_of(facts)
    inputs = recalled_inputs(facts.edit)
    if facts.edit:
        request, told = as_edit(request, facts.edit, inputs)
        notes = (*notes, *told)
    return Recalled(
        request=request,
        tool=facts.tool,
        model=_model(facts.model),
        settings=bounded_settings(facts.settings),
        notes=notes,
        inputs=inputs,
    )


def recalled_edit(path: Path) -> EditRequest | None:
    """The edit that a picture was made by, with its pictures from the same folder; waits for the disk.

    None where one of these is not there any more, or the file does not tell of an edit.
    """
    try:
        recalled = recall(path)
    except NotRecalled:
        return None
    request = found_in(path.parent, recalled.request, recalled.inputs)
    return request if isinstance(request, EditRequest) and request.images else None


def _readings(texts: Mapping[str, str]) -> Iterator[Facts]:
    """What each text tells, the most exact first; each is read only when those before told nothing."""
    yield recipe.facts_of_recipe(json_object(recipe.recipe_in(texts)))
    yield infotext.facts_of_parameters(texts.get(infotext.KEYWORD, ""))
    yield facts_of_json(json_object(texts.get(infotext.KEYWORD)))
    yield facts_of_metadata(json_object(texts.get("invokeai_metadata")))
    yield facts_of_prompt(json_object(texts.get("prompt")))
    yield facts_of_workflow(json_object(texts.get("workflow")))
    yield facts_of_sd_metadata(json_object(texts.get("sd-metadata")))
    yield facts_of_dream(texts.get("Dream", ""))
    yield facts_of_comment(json_object(texts.get("Comment")))


def _content(path: Path) -> bytes:
    shown = one_line(str(path), limit=_SHOWN_PATH_CHARACTERS)
    try:
        if not path.is_file():
            raise NotRecalled(f"{shown} is no file.")
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
        raise NotRecalled(f"{shown} cannot be read: {one_line(str(error))}.") from error
    if len(data) > _MAX_FILE_BYTES:
        raise NotRecalled(f"{shown} has more than {_MAX_FILE_BYTES} bytes.")
    return data


def _model(name: object) -> str | None:
    return one_line(name, limit=_MAX_MODEL_CHARACTERS) if isinstance(name, str) and name.strip() else None
