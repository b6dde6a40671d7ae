"""Expand wildcards in prompts: each stands for one of several options, listed in the prompt or in a file.

`{red|blue}` has its options in the prompt, `__colour__` those on the lines of colour.txt.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.text import LONGEST_PATH, decode_text, one_line

_FILE: Final = re.compile(r"__([^\W_][\w-]*(?:/[^\W_][\w-]*)*?)__")
"""Folders are allowed in a name, but no dots, so that it cannot lead out of the folder."""

_CHOICE: Final = re.compile(r"\{([^{}]*\|[^{}]*)\}")
"""Braces without a bar are ordinary text. The innermost braces are matched first."""

_MOST_DEPTH: Final = 100
"""Wildcards expanded in one prompt, one after the other; lines that name each other would never end."""

_MOST_FILE_BYTES: Final = 4 * 2**20
_MOST_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Wildcards:
    """Expands the wildcards of prompts.

    Attributes:
        folder: Where `__colour__` is looked up, as colour.txt; None if there are no such files.
    """

    folder: Path | None = None
    _lines: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], repr=False)

    def every(self, prompt: str, *, most: int) -> list[str]:
        """Return the prompt with each combination of its options, without repeats.

        Raises:
            InvalidRequest: There are more combinations than `most`, or a file cannot be used.
        """
        found = list(itertools.islice(self._every(prompt, 0), most + 1))
        if len(found) > most:
            raise InvalidRequest(
                f"The wildcards of a prompt have more than {most} combinations.",
                parameter="wildcards",
                value=one_line(prompt),
                allowed=f"at most {most} combinations",
                next_step="Use count=10 for ten random combinations.",
            )
        return list(dict.fromkeys(found))

    def pick(self, prompt: str, *, seed: int) -> str:
        """Return the prompt with one option for each wildcard; the same seed picks the same options.

        Raises:
            InvalidRequest: A file cannot be used.
        """
        random = Random(seed)  # noqa: S311 - chooses words, and has to be repeatable
        for _ in range(_MOST_DEPTH):
            step = self._next(prompt)
            if step is None:
                return prompt
            prompt = random.choice(step)
        raise _endless(prompt)

    def _every(self, prompt: str, depth: int) -> Iterator[str]:
        step = self._next(prompt)
        if step is None:
            yield prompt
            return
        if depth > _MOST_DEPTH:
            raise _endless(prompt)
        for each in step:
            yield from self._every(each, depth + 1)

    def _next(self, prompt: str) -> Sequence[str] | None:
        """Return the prompt with each option of its first wildcard; None if it has none."""
        found = _FILE.search(prompt) or _CHOICE.search(prompt)
        if found is None:
            return None
        options = self._lines_of(found[1]) if found.re is _FILE else found[1].split("|")
        return [f"{prompt[: found.start()]}{option}{prompt[found.end() :]}" for option in options]

    def _lines_of(self, name: str) -> Sequence[str]:
        if name not in self._lines:
            self._lines[name] = self._read(name)
        return self._lines[name]

    def _read(self, name: str) -> tuple[str, ...]:
        file = None if self.folder is None else self.folder / f"{name}.txt"
        try:
            if file is None or file.stat().st_size > _MOST_FILE_BYTES:
                raise self._unusable(name, "the file does not exist, or is larger than 4 MiB")
            text = decode_text(file.read_bytes())
        except (OSError, UnicodeError) as error:
            why = "the file does not exist" if isinstance(error, FileNotFoundError) else one_line(str(error))
            raise self._unusable(name, why) from error
        lines = (line.strip() for line in text.splitlines())
        options = tuple(line for line in lines if line and not line.startswith("#"))
        if not options:
            raise self._unusable(name, "it has no options, one on each line")
        return options

    def _unusable(self, name: str, why: str) -> InvalidRequest:
        shown = one_line(name)
        names = self._names()
        allowed = f"one of {', '.join(names)}" if names else f"a wildcard with a file {shown}.txt"
        where = "" if self.folder is None else f" in {one_line(str(self.folder), limit=LONGEST_PATH)}"
        return InvalidRequest(
            f"The wildcard __{shown}__ cannot be used: {why}{where}. Use {allowed}.",
            parameter="wildcards",
            value=name,
            allowed=allowed,
            next_step=f"Write the options into {shown}.txt{where}, one on each line, or as {{red|blue}}.",
        )

    def _names(self) -> list[str]:
        if self.folder is None:
            return []
        files = sorted(self.folder.rglob("*.txt"))[: _MOST_LISTED + 1]
        names = [file.relative_to(self.folder).with_suffix("").as_posix() for file in files]
        return [*names[:_MOST_LISTED], *(["..."] if len(names) > _MOST_LISTED else [])]


def _endless(prompt: str) -> InvalidRequest:
    return InvalidRequest(
        f"The wildcards of {one_line(prompt)!r} never end: a file names itself.",
        parameter="wildcards",
        value=one_line(prompt),
        allowed="files whose lines do not lead back to themselves",
    )
