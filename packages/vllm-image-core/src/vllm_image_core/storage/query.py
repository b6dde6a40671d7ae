"""Check a search for images, and turn it into an SQL condition on the index."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from vllm_image_core import checks
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests import limits
from vllm_image_core.storage.full_text import match_expression, plain_words
from vllm_image_core.text import brief

MAX_LIMIT: Final = 1_000
"""The most images on one page."""

_MOST: Final = 2**31
_FAR: Final = 1e15
"""Seconds: thirty million years."""
_TEXTS: Final = frozenset(("text", "model", "batch", "tag"))
_INTEGERS: Final = {"seed": (limits.MIN_SEED, limits.MAX_SEED), "width": (1, _MOST), "height": (1, _MOST)}
_TIMES: Final = frozenset(("since", "until"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions that images must meet; None for any value. Checked on creation.

    The conditions are those of `Studio.find`; besides, `names` are the files to search among, and `tags` the
    tags that files were given after they were saved, by name.

    Raises:
        InvalidRequest: A value is not valid.
    """

    text: str | None = None
    model: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    batch: str | None = None
    tag: str | None = None
    names: frozenset[str] | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    limit: int = 50
    offset: int = 0

    def __post_init__(self) -> None:
        checks.check_integer("limit", self.limit, 1, MAX_LIMIT, allowed=f"an integer from 1 to {MAX_LIMIT}")
        checks.check_integer("offset", self.offset, 0, _MOST, allowed="an integer, 0 or more")
        for name in (each.name for each in fields(self)):
            _check(name, getattr(self, name))

    @property
    def match(self) -> str:
        """The words as an FTS5 expression; "" if there are none."""
        return match_expression(self.text or "")

    def conditions(self, *, fts: bool, common: bool = False) -> tuple[str, tuple[object, ...]]:
        """Return an SQL condition on the table `picture`, and its values.

        If many images match the words (`common`), scanning the newest ones is faster than full-text search
        (`fts`).
        """
        parts: list[str] = ["width IS NOT NULL"]
        values: list[object] = []
        if self.tag is not None and self.tags:
            parts.append(
                "(tag = ? AND name NOT IN (SELECT value FROM json_each(?)) OR name IN "
                "(SELECT value FROM json_each(?)))"
            )
            now = sorted(name for name, tag in self.tags.items() if tag == self.tag)
            values.extend((_plain(self.tag), json.dumps(sorted(self.tags)), json.dumps(now)))
        for name in ("model", "seed", "width", "height", "batch", *(() if self.tags else ("tag",))):
            if (value := getattr(self, name)) is not None:
                parts.append(f"{name} = ?")
                values.append(_plain(value) if isinstance(value, str) else value)
        if self.names is not None:
            parts.append("name IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(self.names)))
        if self.since is not None:
            parts.append("created >= ?")
            values.append(math.floor(_seconds(self.since)))
        if self.until is not None:
            parts.append("created < ?")
            values.append(math.ceil(_seconds(self.until)))
        if self.text is not None and self.text.strip():
            condition, words = self._with_match(common=common) if fts else self._with_words(self.text)
            parts.append(condition)
            values.extend(words)
        return " AND ".join(parts), tuple(values)

    def _with_match(self, *, common: bool) -> tuple[str, tuple[str, ...]]:
        """Return the full-text condition; text without any word matches nothing."""
        if not self.match:
            return "0", ()
        found = "id IN (SELECT rowid FROM picture_text WHERE picture_text MATCH ?)"
        if common:
            found = f"+{found}"  # which keeps SQLite from searching by words first
        if not self.tags:
            return found, (self.match,)
        now = "id IN (SELECT rowid FROM temp.retagged_text WHERE retagged_text MATCH ?)"
        return (
            f"({found} AND name NOT IN (SELECT value FROM json_each(?)) OR {now})",  # noqa: S608 - our own words
            (self.match, json.dumps(sorted(self.tags)), self.match),
        )

    def _with_words(self, text: str) -> tuple[str, tuple[str, ...]]:
        """Return the condition without full-text search."""
        words = plain_words(text)
        patterns = [f"%{word}%" for word in words]
        like, values = "(prompt LIKE ? OR tag LIKE ? OR name LIKE ?)", [(each,) * 3 for each in patterns]
        if self.tags:
            tags = json.dumps(dict(self.tags))
            like = (
                "(prompt LIKE ? OR name LIKE ? OR tag LIKE ? AND name NOT IN (SELECT key FROM json_each(?)) "
                "OR name IN (SELECT key FROM json_each(?) WHERE value LIKE ?))"
            )
            values = [(each, each, each, tags, tags, each) for each in patterns]
        return (" AND ".join([like] * len(words)), tuple(chain(*values))) if words else ("0", ())


def _plain(text: str) -> str:
    """Return text as it is stored: without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _seconds(time: datetime) -> float:
    """Return seconds since 1970; times out of range are before or after everything."""
    try:
        return time.astimezone(UTC).timestamp()
    except (OverflowError, OSError, ValueError):
        return -_FAR if time.year < 1970 else _FAR  # noqa: PLR2004 - the epoch


def _check(name: str, value: object) -> None:
    if value is None:
        return
    if name in _INTEGERS:
        least, most = _INTEGERS[name]
        checks.check_integer(name, value, least, most, allowed=f"an integer from {least} to {most}")
    elif name in _TEXTS and not isinstance(value, str):
        raise _refusal(name, value, "a string")
    elif name in _TIMES and not isinstance(value, datetime):
        raise _refusal(name, value, "a datetime, such as datetime(2026, 11, 23)")


def _refusal(name: str, value: object, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name}: {brief(value)} is not {allowed}.",
        parameter=name,
        value=value,
        allowed=allowed,
    )
