"""Match the columns of batch files and data frames to request fields, or explain why a name is refused."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from vllm_image_core.requests.expansion import PROMPT_FIELDS
from vllm_image_core.requests.fields import REQUEST_FIELDS
from vllm_image_core.text import brief

COLUMNS: Final = {
    **{each.name: each.kind for each in REQUEST_FIELDS if each.name in PROMPT_FIELDS},
    "size": "text",
    "count": "integer",
    "sweep": "object",
    "zip": "boolean",
    "wildcards": "boolean",
}
"""The kind of each column's values, by the name of its field."""

_ALIASES: Final[Mapping[str, str]] = {
    alias: each.name
    for each in REQUEST_FIELDS
    if each.name in COLUMNS
    for alias in (*each.aliases.split(), *each.short.split())
    if alias not in COLUMNS
} | dict.fromkeys(("batch_size", "n_iter", "batch_count", "num_images", "n"), "count")
_SEPARATORS: Final = re.compile(r"[\s-]+")
_SCHEDULER: Final = (
    "vLLM-Omni offers no choice of sampler or scheduler: each model uses its own. Remove the column"
)
_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("sampler", "sampler_name", "sampling_method", "scheduler", "schedule_type"), _SCHEDULER),
    **dict.fromkeys(("clip_skip", "clip_stop_at_last_layers", "ensd", "eta"), _SCHEDULER),
    **dict.fromkeys(
        ("model", "sd_model", "sd_model_checkpoint", "model_hash", "checkpoint"),
        "the server uses its own model, whatever a row says. Remove the column",
    ),
    **dict.fromkeys(
        (
            "hires_fix",
            "enable_hr",
            "hr_scale",
            "hires_upscale",
            "restore_faces",
            "tiling",
        ),
        "it needs a second pass, which batch files do not support. Remove the column",
    ),
}
"""Parameters of other programs that a request does not have, and why."""


def column_named(name: str) -> str:
    """Return the field that a name stands for, even one that other programs use: "Steps", "CFG scale"."""
    plain = _SEPARATORS.sub("_", name.strip().lower())
    return plain if plain in COLUMNS else _ALIASES.get(plain, plain)


def refusal_of_column(name: str) -> str:
    """Say why a name that is not a column cannot be used, and what can."""
    if reason := _REFUSED.get(name):
        return f"{brief(name)} cannot be set: {reason}"
    close = get_close_matches(name, COLUMNS, n=1, cutoff=0.75)
    meant = f"; did you mean {close[0]}?" if close else "."
    return f"{brief(name)} is not a parameter of an image{meant} Allowed: {', '.join(COLUMNS)}"
