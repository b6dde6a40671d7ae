"""Find, save and remove styles: the built-in ones, and those in a folder of TOML files."""

import functools
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar

from vllm_omni_client.imaging import FileHeld, retry_while_held

from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.styling import read_style
from vllm_image_core.text import LONGEST_PATH, brief, decode_text, one_line, system_reason

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_RESERVED: Final = re.compile(r"con|prn|aux|nul|(?:com|lpt)[0-9]")  # Windows has devices of these names
_ALLOWED: Final = "1 to 60 letters, digits, hyphens and underscores, such as soft-pencil"
_ENDING: Final = ".toml"
_MOST_BYTES: Final = 100_000
_MOST_FILES: Final = 1_000
_NEAR: Final = 3

RequestT = TypeVar("RequestT", bound=ImageRequest)


class Styles:
    """The styles of this package and those in a folder, which override them by name.

    Args:
        folder: The folder; it need not exist. None for the package's own styles alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        """The folder in which styles are saved."""
        return self._folder

    def names(self) -> tuple[str, ...]:
        """Return the names of all styles, in order."""
        return tuple(sorted({*_builtin(), *(file.stem for file in self._files())}))

    def all(self) -> tuple[Style, ...]:
        """Return all styles in order of name, without those whose file cannot be used."""
        found: list[Style] = []
        for name in self.names():
            with suppress(InvalidRequest):
                found.append(self.find(name))
        return tuple(found)

    def find(self, name: str) -> Style:
        """Return the style of a name; spaces and capitals do not matter.

        Raises:
            InvalidRequest: There is none, or its file cannot be used.
        """
        plain = _plain(name)
        file = next((each for each in self._files() if each.stem == plain), None)
        if file is not None:
            return _read(file)
        if plain in _builtin():
            return _builtin()[plain]
        raise self._unknown(name, plain)

    def is_own(self, name: str) -> bool:
        """Whether a style is in the folder, not only in this package."""
        return any(file.stem == _plain(name) for file in self._files())

    def named(self, request: RequestT) -> RequestT:
        """Return a request with the style that it names; raises what `find` raises."""
        style: object = request.style
        return replace(request, style=self.find(style)) if isinstance(style, str) else request

    def save(self, style: Style, *, overwrite: bool = False) -> Path:
        """Write a style into the folder, and return its file.

        Args:
            style: The style; it is checked as if it were read from its file.
            overwrite: Whether a style of this name in the folder is replaced.

        Raises:
            InvalidRequest: The name or a value cannot be used, or the folder has a style of this name.
            CannotSave: The file cannot be written.
        """
        import tomlkit  # noqa: PLC0415 - only saving needs it

        name = _plain(style.name)
        if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            raise _bad_name(style.name)
        text = tomlkit.dumps(read_style(name, style.as_table()).as_table())
        folder = self._writable()
        if self.is_own(name) and not overwrite:
            raise InvalidRequest(
                f"There is a style {name} already.",
                parameter="name",
                value=name,
                allowed="a name that is free",
                next_step="Choose another name, or ask to overwrite it.",
            )
        file, draft = folder / f"{name}{_ENDING}", folder / f".{name}.{os.getpid()}.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, "utf-8")
            retry_while_held(lambda: draft.replace(file))
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise _cannot_save(f"The style {name} cannot be saved in {_path_text(folder)}", error) from error
        return file

    def remove(self, name: str) -> Path:
        """Delete a style from the folder, and return its file; one of this package stays.

        Raises:
            InvalidRequest: The folder has no style of this name.
            CannotSave: The file cannot be deleted.
        """
        plain = _plain(name)
        if not self.is_own(plain):
            if plain in _builtin():
                raise InvalidRequest(
                    f"The style {plain} comes with this package and cannot be removed.",
                    parameter="name",
                    value=name,
                    allowed="a style that you saved",
                    next_step="Save a style of the same name to use it instead.",
                )
            raise self._unknown(name, plain)
        file = self._writable() / f"{plain}{_ENDING}"
        try:
            retry_while_held(file.unlink)
        except OSError as error:
            raise _cannot_save(f"The style {plain} cannot be removed", error) from error
        return file

    def _files(self) -> Iterator[Path]:
        if self._folder is None:
            return
        with suppress(OSError):
            files = sorted(self._folder.glob(f"*{_ENDING}"))[:_MOST_FILES]
            yield from (file for file in files if _NAME.fullmatch(file.stem))

    def _writable(self) -> Path:
        if self._folder is None:
            raise InvalidRequest(
                "There is no folder of styles to save in.",
                parameter="name",
                value=None,
                allowed="a folder of styles",
                next_step="Set styles_dir.",
            )
        return self._folder

    def _unknown(self, name: str, plain: str) -> InvalidRequest:
        names = self.names()
        near = get_close_matches(plain, names, n=_NEAR, cutoff=0.65)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        return InvalidRequest(
            f"There is no style {brief(name)}.{meant}",
            parameter="style",
            value=name,
            allowed=f"one of {', '.join(names)}",
            next_step="Studio.styles.names() lists all styles.",
        )


def _plain(name: str) -> str:
    """Return a name as files have it: in lower case, with hyphens for spaces."""
    return "-".join(name.strip().casefold().split())


def _bad_name(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"{brief(name)} cannot be the name of a style. Allowed: {_ALLOWED}.",
        parameter="name",
        value=name,
        allowed=_ALLOWED,
    )


def _cannot_save(what: str, error: OSError) -> CannotSave:
    return CannotSave(
        f"{what}: {system_reason(error)}.",
        next_step="Close the program that has it open, and try again."
        if isinstance(error, FileHeld)
        else "Choose another folder of styles, or make this one writable and free some space.",
    )


def _read(file: Path) -> Style:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise _unusable(file, f"it is larger than {_MOST_BYTES:,} bytes")
        table = tomllib.loads(decode_text(file.read_bytes()))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise _unusable(file, one_line(str(error))) from error
    return read_style(file.stem, table)


def _unusable(file: Path, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The style {file.stem} cannot be used: {_path_text(file)}: {why}.",
        parameter="style",
        value=file.stem,
        allowed="a TOML file",
        next_step="Correct the file, or save the style again.",
    )


@functools.cache
def _builtin() -> Mapping[str, Style]:
    folder = resources.files("vllm_image_core") / "styles"
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(_ENDING)}
    names = [(name.removesuffix(_ENDING), texts[name]) for name in sorted(texts)]
    return {name: read_style(name, tomllib.loads(text)) for name, text in names}


def _path_text(path: Path) -> str:
    return one_line(str(path), limit=LONGEST_PATH)
