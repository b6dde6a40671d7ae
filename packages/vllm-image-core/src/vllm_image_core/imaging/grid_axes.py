"""Find the axes of a grid: up to three settings that differ between images in every combination, in order."""

import itertools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from vllm_image_core.imaging.xy_grid import Axis
from vllm_image_core.text import one_line

Value = str | int | float

_LONGEST: Final = 60
_MOST_AXES: Final = 3
_MOST_COLUMNS: Final = 6
"""A single row of more images would show too little of each."""
_PROMPT: Final = "prompt"
_MOST_WORDS: Final = 24
"""With more groups of words that come and go together, prompts are shown as they are."""


def grid_axes(cells: Sequence[Mapping[str, Value]]) -> tuple[Axis, ...] | None:
    """Return the columns, the rows and the blocks of rows of a grid; None if the images do not form one.

    Settings that change together are one axis. Images that differ in one setting form a row; if that is the
    prompt, they form no grid.

    Args:
        cells: The settings of each image by name, its `prompt` among them, row by row.
    """
    axes = _axes(_by_word(cells))
    if len(axes) != 1:
        return tuple(axes) or None
    [columns] = axes
    if len(columns.values) > _MOST_COLUMNS or columns.name.startswith(_PROMPT):
        return None
    return columns, Axis("", [one_line(str(cells[0].get(_PROMPT, "")), limit=_LONGEST)])


def _label(value: Value) -> str:
    """Return how a value is written next to an image."""
    return f"{value:g}" if isinstance(value, float) else one_line(str(value), limit=_LONGEST)


def _axes(cells: Sequence[Mapping[str, Value]]) -> Sequence[Axis]:
    """Return the axes, the one that changes from image to image first; none without a full product."""
    every = dict.fromkeys(name for cell in cells for name in cell)
    names = [name for name in every if len({cell.get(name) for cell in cells}) > 1]
    if any(name not in cell for name in names for cell in cells):
        return []
    orders: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        numbers = {value: number for number, value in enumerate(dict.fromkeys(c[name] for c in cells))}
        orders.setdefault(tuple(numbers[cell[name]] for cell in cells), []).append(name)
    if not 1 <= len(orders) <= _MOST_AXES:
        return []
    lengths = {order: max(order) + 1 for order in orders}
    for outermost_first in itertools.permutations(orders):
        rows = itertools.product(*(range(lengths[order]) for order in outermost_first))
        if list(zip(*outermost_first, strict=True)) == list(rows):
            return [_axis(orders[order], order, cells) for order in reversed(outermost_first)]
    return []


def _axis(names: Sequence[str], order: Sequence[int], cells: Sequence[Mapping[str, Value]]) -> Axis:
    first = [order.index(number) for number in range(max(order) + 1)]
    values = [", ".join(_label(cells[place][name]) for name in names) for place in first]
    shown = dict.fromkeys(_PROMPT if name.startswith(f"{_PROMPT} ") else name for name in names)
    return Axis(", ".join(shown), values)


def _by_word(cells: Sequence[Mapping[str, Value]]) -> Sequence[Mapping[str, Value]]:
    """Split the prompts into the words that change independently of each other, if all words are such.

    "a red fox", "a blue fox", "a red owl" and "a blue owl" differ in red or blue, and in fox or owl.
    """
    prompts = [str(cell.get(_PROMPT, "")).split() for cell in cells]
    every = 2 ** len(cells) - 1
    occurs = {word: 0 for words in prompts for word in words}
    for place, words in enumerate(prompts):
        for word in words:
            occurs[word] |= 1 << place
    differing = {word: mask for word, mask in occurs.items() if mask != every}
    groups = _independent_groups({*differing.values()}, every)
    if not groups:
        return cells
    found = [dict[str, Value]() for _ in cells]
    for number, group in enumerate(groups):
        for part in group:
            places = [place for place in range(len(cells)) if part >> place & 1]
            shown = [word for word in prompts[places[0]] if _group_of(differing.get(word), groups) == number]
            for place in places:
                found[place][f"{_PROMPT} {number}"] = " ".join(shown)
    return [{**words, **without_prompt(cell)} for words, cell in zip(found, cells, strict=True)]


def _independent_groups(masks: AbstractSet[int], every: int) -> Sequence[Sequence[int]]:
    """Group sets of images, as bits, so that each image is in one of each group; none if one is left over."""
    if len(masks) > _MOST_WORDS:
        return []
    left, groups = {*masks}, list[Sequence[int]]()
    while cover := _cover(sorted(left), every):
        groups.append(cover)
        left.difference_update(cover)
    if any(_group_of(mask, groups) is None for mask in left):
        return []
    return groups


def _cover(masks: Sequence[int], missing: int) -> Sequence[int] | None:
    """Choose sets that together have each missing image once, the smallest first; None if there are none."""
    if not missing:
        return []
    lowest = missing & -missing
    for mask in masks:
        if mask & lowest and not mask & ~missing:
            rest = _cover(masks, missing & ~mask)
            if rest is not None:
                return [mask, *rest]
    return None


def _group_of(mask: int | None, groups: Sequence[Sequence[int]]) -> int | None:
    """Return the group whose parts make up a set of images; None if there is none."""
    for number, group in enumerate(groups):
        if mask is not None and all(part & mask in {0, part} for part in group):
            return number
    return None


def without_prompt(cell: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return the settings of an image besides its prompt."""
    return {name: value for name, value in cell.items() if name != _PROMPT}
