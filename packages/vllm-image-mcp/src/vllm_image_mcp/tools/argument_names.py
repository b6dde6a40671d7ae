"""Sort argument names into the tool's own, misspelt ones, and fields that a host adds by itself.

A misspelt name must not lead to a different image than the one asked for, so it is refused with the right
name. A host's own field, such as ``toolCallId``, says nothing about the image and is ignored, with a note.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from vllm_image_core.requests.fields import (
    RARE_EDIT_NAMES,
    RARE_NAMES,
    REQUEST_FIELDS,
    TOOLS,
    fields_shown_in,
)
from vllm_image_core.text import one_line

_SEVERAL: Final = "several images"
_SIZE: Final = "a size"
"""Meanings rather than parameter names, each with its own hint in `_HINTS`."""

_ALIASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **{each.name: (*each.short.split(), *each.aliases.split()) for each in REQUEST_FIELDS},
        "prompts": ("prompt", "prompt_list", "positive_prompts", "text_prompts"),
        _SIZE: ("size", "image_size", "resolution", "dimensions", "dimension", "output_size"),
        "seeds": ("seed", "seed_list", "random_seeds"),
        "max_wait": ("max_wait_seconds", "wait_seconds", "max_wait_time", "wait_time"),
        "max_concurrent": (
            *("concurrency", "concurrent", "max_concurrency", "parallel", "max_parallel", "at_once"),
            *("max_workers", "parallelism"),
        ),
        "sweep": ("grid", "parameter_sweep", "matrix"),
        "num_images": ("image_count", "images"),
        _SEVERAL: (
            *("n", "num_images", "batch_size", "count", "num_outputs", "number_of_images", "n_images"),
            *("num_samples", "n_samples", "samples", "batch_count", "num_images_per_prompt", "n_iter"),
        ),
        "batch_id": ("batch", "batch_ids", "job_id"),
        "text": (
            *("search_text", "search", "keyword", "keywords", "search_term", "search_query", "prompt"),
            "filename",
        ),
        "model": ("model_name", "model_id"),
        "since": ("after", "start_date", "date_from", "from_date", "created_after", "from"),
        "until": ("before", "end_date", "date_to", "to_date", "created_before", "to"),
        "limit": (
            *("max_results", "top_k", "page_size", "num_results", "n", "count", "max_images", "num_images"),
        ),
        "offset": ("skip", "start_index"),
        "resume": ("continue", "retry"),
        "indexes": (
            *("numbers", "number", "indices", "index", "image_numbers", "image_indexes", "image_indices"),
            *("positions", "items"),
        ),
        "verdict": ("rating", "decision", "keep", "reject", "rejected", "kept"),
        "stars": ("star", "score"),
        "export_to": ("export", "destination", "folder", "copy_to", "export_folder", "target_folder"),
    }
)
"""Names that other programs use for our parameters. An entry applies if the tool has the parameter."""

_LOOSE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "prompt": ("text", "input", "query", "description", "caption", "message", "instruction", "content"),
        "prompts": ("texts", "inputs", "descriptions", "items", "text", "input", "query"),
        "text": ("query", "q", "input"),
        "images": ("input", "file", "files", "path", "paths", "inputs"),
        "batch_id": ("id", "job", "task_id"),
        "filename": ("path", "save_to", "destination"),
    }
)
"""Names that hosts also add for their own purposes: they count only if the parameter is missing."""

_HINTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        _SIZE: {
            "generate_image": "Use width and height, or aspect_ratio",
            "batch_generate": "Use width and height, or aspect_ratio",
            "estimate_generation": "Use width and height",
            "edit_image": "Use width and height, or aspect_ratio; by default, that of the first image",
        },
        _SEVERAL: {
            "generate_image": "It generates one image; use batch_generate for several",
            "edit_image": "It generates one image; call it once for each, with a different seed",
            "batch_generate": "Use count",
            "estimate_generation": "Use num_images",
        },
        "verdict": {
            "rate_images": 'Use verdict="keep", "reject" or "clear"',
            "find_images": 'Use verdict="keep" or verdict="reject"',
        },
    }
)

_SHAPING: Final = frozenset(
    {
        *(each.name for tool in TOOLS for each in fields_shown_in(tool)),
        *("prompts", "seeds", "count", "sweep", "zip", "wildcards", "max_concurrent", "num_images"),
    }
)
"""Parameters that shape the image: one that another tool has was meant, and is not a host's field."""

_TRANSPARENCY: Final = frozenset(
    {"transparent", "transparency", "transparentbackground", "backgroundtransparent", "alpha", "rgba"}
)
"""Switches by which other programs ask for a transparent background."""

_WRAPPERS: Final = frozenset(
    {
        *("kwargs", "args", "arguments", "params", "parameters", "input", "inputs", "options", "settings"),
        *("requestbody", "body", "extra", "extrabody", "payload", "data", "request", "config"),
    }
)
"""Fields in which some callers nest all their arguments."""

_HOSTS: Final = frozenset(
    {
        *("toolcallid", "callid", "sessionid", "action", "chatinput", "randomstring", "explanation", "mode"),
        *("taskprogress", "waitforprevious", "waitforprevioustools", "isbackground", "meta", "metadata"),
        *("thought", "thoughts", "reasoning", "context", "ctx", "task", "role", "test", "type", "name"),
        *("tool", "toolname", "user", "userid", "traceid", "threadid", "requestid", "messageid", "dummy"),
        *("next", "send", "title", "signature", "status", "reason", "timeout", "requestheartbeat"),
        *("kwargs", "args", "requestbody", "securityrisk", "toolsummary", "sampler", "intent", "stream"),
    }
)
"""Fields that hosts are known to add, and others that only happen to resemble one of our names."""

_MOST_NAMED: Final = 8
_SHORTEST: Final = 4
"""Letters a name needs before one typing error is allowed; shorter ones resemble too many words."""
_LONG: Final = 7
"""Letters a name needs before two are allowed."""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedNames:
    """The arguments of a call, sorted by their names.

    Attributes:
        own: The tool's parameters, with their values.
        slips: Misspelt or foreign names, each with a hint on what to use.
        ignored: Names that mean nothing to the tool.
    """

    own: Mapping[str, object]
    slips: Mapping[str, str]
    ignored: tuple[str, ...]


def sort_names(tool: str, arguments: Mapping[str, object], tools: Mapping[str, Schema]) -> SortedNames:
    """Separate a tool's parameters from misspelt ones, and both from fields that a host added.

    Args:
        tool: The tool that is called.
        arguments: As the host sent them.
        tools: The parameters of every tool.
    """
    known = tools[tool]
    own = {name: value for name, value in arguments.items() if name in known}
    rare_names = RARE_EDIT_NAMES if tool == "edit_image" else RARE_NAMES
    rare = {name: arguments[name] for name in rare_names & arguments.keys()}
    asks_for_transparency = [name for name in arguments if _asks_for_transparency(name, arguments[name])]
    if asks_for_transparency:
        rare["background"] = "transparent"
    if rare and "extra_params" in known:
        own["extra_params"] = {**_as_object(own.get("extra_params")), **rare}
    given = {name for name, value in own.items() if value not in (None, "")}
    hints = {
        name: _hint(tool, name, value, given, tools)
        for name, value in arguments.items()
        if name not in known
        and not ("extra_params" in own and (name in rare_names or name in asks_for_transparency))
    }
    return SortedNames(
        own=own,
        slips={name: hint for name, hint in hints.items() if hint is not None},
        ignored=tuple(name for name, hint in hints.items() if hint is None),
    )


def _asks_for_transparency(name: str, value: object) -> bool:
    """Whether an argument asks for a transparent background, as other programs spell it."""
    return _plain(name) in _TRANSPARENCY and str(value).strip().casefold() in {"true", "1", "transparent"}


def note_on_ignored(tool: str, names: Iterable[str]) -> str:
    """The note on fields that were ignored because the tool does not have them."""
    listed = [f"'{one_line(name)}'" for name in names]
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return f"Ignored, because {tool} has no such parameter: {', '.join(listed[:_MOST_NAMED])}{more}."


def _hint(tool: str, name: str, value: object, given: set[str], tools: Mapping[str, Schema]) -> str | None:
    """What to use instead of a name; None for a name to ignore."""
    known, plain = tools[tool], _plain(name)
    if not known or not plain or name.startswith(("_", "$")):
        return None
    words, others = _words(known), _words_of_others(tool, tools)
    if meant := _same(plain, words) or _missing(plain, known, given):
        return _use(tool, meant)
    if wrapped := _nested_names(plain, value, known, given):
        return f"Pass {', '.join(wrapped)} at the top level, not inside it"
    if plain in _HOSTS:
        return None
    here = None if _same(plain, others) else _near(plain, words)
    other = _same(plain, others) or _near(plain, others)
    return _use(tool, here) if here else _elsewhere(tool, other, tools) if other else None


def _use(tool: str, meant: str) -> str:
    return _HINTS.get(meant, {}).get(tool, f"Use {meant}")


def _elsewhere(tool: str, name: str, tools: Mapping[str, Schema]) -> str:
    """The hint for a parameter that only other tools have."""
    having = ", ".join(other for other, parameters in tools.items() if name in parameters)
    verb = "take" if "," in having else "takes"
    return _HINTS.get(name, {}).get(tool, f"Only {having} {verb} {name}")


def _words(known: Schema) -> dict[str, tuple[str, ...]]:
    """All names of each of a tool's parameters, its own first."""
    return {
        name: tuple(map(_plain, (name, *aliases)))
        for name, aliases in {**dict.fromkeys(known, ()), **_aliases_of(known)}.items()
    }


def _words_of_others(tool: str, tools: Mapping[str, Schema]) -> dict[str, tuple[str, ...]]:
    """The same for parameters that only other tools take, if the tool generates or estimates images."""
    if "num_inference_steps" not in tools[tool]:
        return {}
    return {
        name: tuple(map(_plain, (name, *_ALIASES.get(name, ()))))
        for name in sorted(_SHAPING - tools[tool].keys())
    }


def _same(plain: str, words: Mapping[str, Sequence[str]]) -> str | None:
    """The parameter that a name means, in different case or in another program's words."""
    return next((name for name, called in words.items() if plain in called), None)


def _missing(plain: str, known: Schema, given: set[str]) -> str | None:
    """The parameter that a loose name means, if that parameter is missing."""
    loose = {name: tuple(map(_plain, words)) for name, words in _LOOSE.items()}
    return _same(plain, {name: loose[name] for name in loose if name in known and name not in given})


def _near(plain: str, words: Mapping[str, Sequence[str]]) -> str | None:
    """The parameter whose name, or another word for it, differs only by a typing error."""
    near = [
        (distance, name)
        for name, called in words.items()
        for word in called
        if (distance := _distance(plain, word)) <= _errors_allowed(word)
    ]
    return min(near)[1] if near else None


def _aliases_of(known: Schema) -> dict[str, tuple[str, ...]]:
    """The aliases of a tool's parameters, and of `_SIZE` and `_SEVERAL` if they apply to it."""
    sized, making = "width" in known or "images" in known, "num_inference_steps" in known
    return {
        name: aliases
        for name, aliases in _ALIASES.items()
        if name in known or (name == _SIZE and sized) or (name == _SEVERAL and making)
    }


def _nested_names(plain: str, value: object, known: Schema, given: set[str]) -> list[str]:
    """The tool's parameters that are given only inside a nested field."""
    if plain not in _WRAPPERS:
        return []
    inside = _as_object(value)
    return [name for name in known if name not in given and inside.get(name) not in (None, "")]


def _as_object(value: object) -> Mapping[object, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return cast("Mapping[object, object]", value) if isinstance(value, Mapping) else {}


def _plain(name: str) -> str:
    """A name without case and separators: numInferenceSteps and num-inference-steps are the same."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _errors_allowed(word: str) -> int:
    if len(word) < _SHORTEST:
        return 0
    return 1 if len(word) < _LONG else 2


def _distance(one: str, other: str) -> int:
    """Count typing errors between two words: letters wrong, missing, added, or swapped with the next."""
    if abs(len(one) - len(other)) > 2:  # noqa: PLR2004 - more than is ever allowed
        return 3
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        here = [row]
        for column, theirs in enumerate(other, start=1):
            cost = min(here[-1] + 1, last[column] + 1, last[column - 1] + (letter != theirs))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == theirs:
                cost = min(cost, before[column - 2] + 1)
            here.append(cost)
        before, last = last, here
    return last[-1]
