"""Recall from an image's own file how it was made, as a request that can be changed and sent again."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

from vllm_image_core import checks
from vllm_image_core.display.card import Card, Displayed
from vllm_image_core.errors import NotRecalled
from vllm_image_core.files import read_image_file
from vllm_image_core.imaging import metadata_blocks, xmp
from vllm_image_core.imaging.exif_text import is_readable
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.imaging.sniffing import describe, picture_format
from vllm_image_core.provenance import infotext, recipe
from vllm_image_core.provenance.comfyui import facts_of_prompt
from vllm_image_core.provenance.comfyui_workflow import facts_of_workflow
from vllm_image_core.provenance.facts import (
    Facts,
    Tool,
    bound_settings,
    build_request,
    checked,
    is_json,
    json_object,
)
from vllm_image_core.provenance.invokeai import (
    facts_of_dream,
    facts_of_metadata,
    facts_of_node,
    facts_of_sd_metadata,
)
from vllm_image_core.provenance.json_parameters import facts_of_comment, facts_of_json, facts_of_texts
from vllm_image_core.requests import limits
from vllm_image_core.requests.edit_request import MOST_INPUTS, ROLES, EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.text import one_line

_MOST: Final = MOST_INPUTS + len(ROLES) - 1
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAME_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledInput:
    """An input image of an edit, as named in the result's file, which anybody may have written.

    Attributes:
        role: "image", "mask" or "reference_image".
        sha256: The hash of its bytes, in hexadecimal.
        name: The plain name of its file, for display; None if it had none.
    """

    role: str
    sha256: str
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.role.replace('_', ' ')} {self.name or 'without a name'}, SHA-256 {self.sha256[:12]}…"


def read_inputs(edit: Mapping[str, object]) -> tuple[RecalledInput, ...]:
    """Read the input images of an edit, at most as many as an edit can have; invalid entries are skipped."""
    inputs = edit.get("inputs")
    entries = cast("list[object]", inputs)[:_MOST] if isinstance(inputs, list) else []
    return tuple(one for one in map(_input, entries) if one is not None)


def as_edit(
    request: ImageRequest, edit: Mapping[str, object], inputs: tuple[RecalledInput, ...]
) -> tuple[EditRequest, tuple[str, ...]]:
    """Turn the request into an edit, still without its images, and return notes for the caller.

    `edit` are the file's entries that only an edit has.
    """
    notes: list[str] = []
    if any(edit.get(name) is not None for name in ("resolution", "outpaint", "upscale")):
        request = replace(request, width=None, height=None)
    prepared: dict[str, Any] = {
        name: checked(name, edit.get(name), partial(limits.check, name), notes) for name in recipe.PREPARED
    }
    recalled = EditRequest(
        **{field.name: getattr(request, field.name) for field in fields(ImageRequest)},
        strength=checked("strength", edit.get("strength"), partial(limits.check, "strength"), notes),
        layers=checked("layers", edit.get("layers"), partial(limits.check, "layers"), notes),
        resolution=checked("resolution", edit.get("resolution"), _resolution, notes),
        **prepared,
    )
    named = "; ".join(map(str, inputs)) or "images that the file does not name"
    notes.append(f"The image was edited from {named}. Give these as images to generate it again.")
    return recalled, tuple(notes)


def _input(entry: object) -> RecalledInput | None:
    if not isinstance(entry, dict):
        return None
    values = cast("dict[object, object]", entry)
    role, digest, name = values.get("role"), values.get("sha256"), values.get("name")
    if role not in ROLES or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        return None
    shown = one_line(name, limit=_NAME_CHARACTERS) if isinstance(name, str) and name else None
    return RecalledInput(role=str(role), sha256=digest, name=shown)


def _resolution(value: object) -> int:
    return checks.check_integer("resolution", value, 640, 1024, allowed="640 or 1024")


_NAMED: Final = frozenset(
    (metadata_blocks.KEYWORD, recipe.KEYWORD, xmp.KEYWORD, "prompt", "workflow", "Dream")
)
"""Keywords of texts that are read by name."""

_MAX_TEXTS: Final = 64
_MAX_SHOWN: Final = 3
_MAX_MODEL_CHARACTERS: Final = 200
_LONGEST_PATH: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalledRequest(Displayed):
    """How an image was made according to its file, which anybody may have written.

    Attributes:
        request: The request that generates it again. Change it with `dataclasses.replace` and pass it to
            `Studio.make`, which checks it like any other. For an edit it is an `EditRequest` without images;
            `Studio.recall` adds those that are still in its folder, unchanged.
        tool: The program that wrote the file.
        model: The model's name in the file, on one line; None if it has none. Text, not a path to open.
        settings: Other settings, shortened, for a person to read: sampler, scheduler, version.
        notes: What could not be used, and why.
        inputs: The input images of an edit; empty for a generation.
    """

    request: ImageRequest
    tool: Tool
    model: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    inputs: tuple[RecalledInput, ...] = ()

    def _card(self) -> Card:
        asked = self.request
        sides = asked.width and asked.height and f"{asked.width}x{asked.height}"
        return Card(
            title=f"{'Edit' if self.inputs else 'Image'} made with {self.tool}",
            facts={
                "prompt": asked.prompt,
                "model": self.model,
                "size": sides,
                "seed": asked.seed,
                "steps": asked.num_inference_steps,
                "guidance": asked.guidance_scale,
            },
            notes=self.notes,
        )


def recall(file: Path | str | bytes) -> RecalledRequest:
    """Read from an image's own file how it was made.

    The file may be ours, or one of AUTOMATIC1111, Forge, SD.Next, ComfyUI, SwarmUI, InvokeAI, Fooocus,
    RuinedFooocus, Civitai, NovelAI, Draw Things or Easy Diffusion.

    Blocks while it reads the disk: if an event loop is running, use `Studio.recall` or
    ``await asyncio.to_thread(recall, path)``.

    Args:
        file: A PNG, JPEG or WebP: its path, or its content.

    Raises:
        NotRecalled: The file cannot be read, is not an image, or does not say how it was made.
    """
    data = (
        file
        if isinstance(file, bytes)
        else read_image_file(Path(file), NotRecalled, longest_path=_LONGEST_PATH)
    )
    texts = read_text(data)
    facts = next((facts for facts in _facts_by_text(texts) if facts.has_settings), None)
    if facts is None:
        if picture_format(data) is None:
            what = describe(data) if data else "empty"
            raise NotRecalled(f"The file is not an image that can be recalled: it is {what}.")
        raise NotRecalled(f"The image does not say how it was made{_unread(texts)}.")
    request, notes = build_request(facts)
    inputs = read_inputs(facts.edit)
    if facts.edit:
        request, edit_notes = as_edit(request, facts.edit, inputs)
        notes = (*notes, *edit_notes)
    return RecalledRequest(
        request=request,
        tool=facts.tool,
        model=_model(facts.model),
        settings=bound_settings(facts.settings),
        notes=notes,
        inputs=inputs,
    )


def _facts_by_text(texts: Mapping[str, str]) -> Iterator[Facts]:
    """Yield the facts of each text, the most exact first; a text is read only if none before had any."""
    yield recipe.read_recipe(json_object(recipe.find_recipe(texts)))
    yield from (facts.without_placeholders() for facts in _facts_of_other_tools(texts))


def _facts_of_other_tools(texts: Mapping[str, str]) -> Iterator[Facts]:
    """Yield the facts of other programs' texts: first those known by name, then those known by content."""
    yield from _facts_of_settings(texts.get(metadata_blocks.KEYWORD, ""))
    yield facts_of_metadata(json_object(texts.get("invokeai_metadata")))
    yield facts_of_prompt(json_object(texts.get("prompt")))
    yield facts_of_workflow(json_object(texts.get("workflow")))
    yield facts_of_sd_metadata(json_object(texts.get("sd-metadata")))
    yield facts_of_node(json_object(texts.get("invokeai")))
    yield facts_of_dream(texts.get("Dream", ""))
    yield _facts_of_novelai(texts)
    yield facts_of_texts(texts)
    packet = xmp.read(texts.get(xmp.KEYWORD, ""))
    others = (text for name, text in texts.items() if name not in _NAMED)
    for text in (packet.comment, packet.description, *islice(others, _MAX_TEXTS)):
        yield from (facts for facts in _facts_of_settings(text or "") if _is_certain(facts))
    yield _facts_of_bare_prompt(texts.get(metadata_blocks.KEYWORD, ""))


def _facts_of_settings(text: str) -> Iterator[Facts]:
    """Read JSON, or text with a line of settings."""
    found = json_object(text, wrapped=True)
    if found:
        yield facts_of_json(found)
    elif infotext.has_settings(text):
        below = one_line(infotext.unread_lines(text))
        note = f"The text below the file's settings was not read: '{below}'."
        yield replace(infotext.facts_of_parameters(text), notes=(note,) if below else ())


def _is_certain(facts: Facts) -> bool:
    """Whether text of unknown purpose holds settings; a prompt alone may be just a caption."""
    return facts.tool != "automatic1111" or facts.seed is not None or facts.num_inference_steps is not None


def _facts_of_novelai(texts: Mapping[str, str]) -> Facts:
    """Read NovelAI's settings from Comment; the prompt is there, too, or in Description."""
    comment = json_object(texts.get("Comment"))
    if not (
        "NovelAI" in (texts.get("Software"), texts.get("Title", "")[:7]) or {"uc", "scale"} <= comment.keys()
    ):
        return Facts(tool="novelai")
    facts = facts_of_comment(comment, description=texts.get("Description"))
    note = "The file's settings could not be read: its text 'Comment' is not JSON."
    return facts if comment or not texts.get("Comment") else replace(facts, notes=(note,))


def _facts_of_bare_prompt(text: str) -> Facts:
    """Read text without settings as a prompt, unless it is in an unknown encoding."""
    if not is_readable(text):
        return Facts(tool="automatic1111")
    note = "The file's text has no settings; all of it was read as prompts."
    return replace(infotext.facts_of_parameters(text), notes=(note,))


def _unread(texts: Mapping[str, str]) -> str:
    """Name the texts that were not understood; empty if there are none."""
    parts = [
        f"'{one_line(name)}' is damaged or unknown JSON" for name, text in texts.items() if is_json(text)
    ]
    if texts.get(metadata_blocks.KEYWORD, "").strip() and not parts:
        parts = [f"'{metadata_blocks.KEYWORD}' is in an unknown encoding"]
    return f": its text {', '.join(parts[:_MAX_SHOWN])}" if parts else ""


def _model(name: object) -> str | None:
    return one_line(name, limit=_MAX_MODEL_CHARACTERS) if isinstance(name, str) and name.strip() else None
