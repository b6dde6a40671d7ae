"""Format model profiles for the `models` command: as rows of a table, or in full with their sources."""

from collections.abc import Iterator, Sequence
from functools import partial
from textwrap import fill
from typing import Final

from vllm_image_core.models.profile import Profile

_WIDTH = 100
_NAME = 28
_LEAST_WIDTH = 60
_HEADER: Final = ("MODEL", "TYPE", "STEPS", "GUIDANCE", "SIZE", "MEMORY", "INPUTS")


def table(profiles: Sequence[Profile], width: int | None = None) -> Iterator[str]:
    """Yield a header and a line for each model: its default settings, memory, and number of input images.

    If the lines are longer than `width`, names lose their organisation, and then the types, the guidance and
    the inputs are left out, one after the other.
    """
    rows = [_HEADER, *map(_row, profiles)]
    most = width or _length(rows)
    if _length(rows) > most:
        rows = [(name.rpartition("/")[2], *others) for name, *others in rows]
    for title in ("TYPE", "GUIDANCE", "INPUTS"):
        if _length(rows) > most:
            place = rows[0].index(title)
            rows = [(*row[:place], *row[place + 1 :]) for row in rows]
    widths = _widths(rows)
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _length(rows: Sequence[tuple[str, ...]]) -> int:
    widths = _widths(rows)
    return sum(widths) + 2 * (len(widths) - 1)


def _row(profile: Profile) -> tuple[str, ...]:
    gigabytes = profile.estimated_vram_gb
    inputs = str(profile.max_input_images) if profile.max_input_images else "-"
    return (
        profile.model,
        profile.type,
        str(profile.default_steps),
        f"{profile.default_guidance_scale:g}",
        str(profile.default_size),
        "?" if gigabytes is None else f"{gigabytes:g} GB",
        inputs if profile.text_to_image else f"{inputs} (edit)",
    )


def full(profile: Profile, width: int | None = None) -> str:
    """Return all facts about the model, each with its source below it, in lines of 100 characters at most."""
    wrap = partial(_wrap, width=max(_LEAST_WIDTH, min(width or _WIDTH, _WIDTH)))
    lines = [profile.model]
    for name in type(profile).model_fields:
        value: object = getattr(profile, name)
        if name not in {"model", "sources"} and value not in (None, (), {}):
            lines.append(wrap(f"  {name:<{_NAME}} {_text(profile, name, value)}", indent=_NAME + 3))
            if source := profile.sources.get(name):
                lines.append(wrap(source, indent=_NAME + 5))
    return "\n".join(lines)


def _text(profile: Profile, name: str, value: object) -> str:
    match name:
        case "supported_aspect_ratios":
            return _sizes(profile)
        case "quality":
            return "; ".join(
                f"{quality}: "
                + ", ".join(f"{key} {_plain(given)}" for key, given in preset if given is not None)
                for quality, preset in profile.quality.items()
            )
        case "aliases":
            return ", ".join(profile.aliases)
        case "cost":
            return ", ".join(f"{key} {seconds:g}" for key, seconds in profile.cost)
        case _:
            return _plain(value)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _sizes(profile: Profile) -> str:
    return ", ".join(f"{ratio} {size}" for ratio, size in profile.supported_aspect_ratios.items())


def _wrap(text: str, *, indent: int, width: int) -> str:
    return fill(
        text,
        width=width,
        initial_indent="" if text.startswith(" ") else " " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
