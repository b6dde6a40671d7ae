"""Profiles in TOML files: those of this package, and a user's own, which may extend another.

A user's file has the keys of `Profile`. With ``extends = "Qwen/Qwen-Image"`` it needs only those that differ:
tables are merged key by key, and `model` is that of the extended profile where the file has none. What the
file itself says needs no entry in its ``[sources]``: its source is the file.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vllm_image_core.errors import BadProfile
from vllm_image_core.models.profile import CostLaw, Profile
from vllm_image_core.models.settings import EditRules, Preset
from vllm_image_core.text import LONGEST_PATH, one_line, shown

MOST_BYTES: Final = 1_000_000
"""A longer file is no profile."""

_MOST_FILES: Final = 1_000
_SHOWN_FAULTS: Final = 5
_EXTENDS: Final = "extends"
_TABLES: Final = {
    "cost": ", ".join(CostLaw.model_fields),
    "older_servers": "since, before, max_input_images",
    "quality": "[quality.draft] and [quality.best]",
    "supported_aspect_ratios": 'sizes by ratio, such as "16:9" = [1344, 768]',
    "sources": "texts by key, such as default_steps",
}
_UNSOURCED: Final = frozenset({"model", "aliases", "type", "sources"})

_KINDS: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "greater_than": "more than {gt:g}",
    "string_too_long": "a text of {max_length} characters or fewer",
    "string_too_short": "a text of 1 character or more",
    "string_pattern_mismatch": "a text of more than spaces, without control characters",
    "bool_type": "true or false",
    "dataclass_exact_type": "a list of two whole numbers above 0, [width, height]",
    "tuple_type": "a list",
    "mapping_type": "a table",
    "dict_type": "a table",
    "model_type": "a table",
}
"""What a value must be where a fault is of this kind; in braces what the fault itself tells."""

Table = dict[str, object]


def read_profile(text: str, *, file: str) -> Profile:
    """A profile that stands whole in one TOML document, each number with its source.

    Args:
        text: The TOML document.
        file: Its name, for the message.

    Raises:
        BadProfile: It is no TOML, a key is missing, unknown or out of range, or a number has no source.
    """
    return _validate(_parse(text, file), file)


def own_profiles(path: Path, *, known: Mapping[str, Profile]) -> tuple[Profile, ...]:
    """A user's profiles: of one TOML file, or of all ``*.toml`` in a folder, by name.

    Args:
        path: The file or the folder.
        known: The profiles that may be extended, by their model's name; those of `path` itself may be, too.

    Raises:
        BadProfile: A file cannot be read, or does not hold a profile; two are of the same model; or a profile
            extends one that is not known, or itself in the end.
    """
    tables = {str(file): _parse(_text(file), str(file)) for file in _files(path)}
    extender = _Extender(tables, known)
    profiles: dict[str, Profile] = {}
    for file in tables:
        profile = extender.profile(file)
        if profile.model in profiles:
            raise BadProfile(f"{_file_name(file)}: model: there is another file for {shown(profile.model)}")
        profiles[profile.model] = profile
    return tuple(profiles.values())


class _Extender:
    """Profiles of some tables, each over the one that it extends."""

    def __init__(self, tables: Mapping[str, Table], known: Mapping[str, Profile]) -> None:
        self._tables = tables
        self._known = {name.casefold(): profile for name, profile in known.items()}
        self._under_way: list[str] = []

    def profile(self, file: str) -> Profile:
        table = dict(self._tables[file])
        _check_said(table, file)
        if _EXTENDS not in table:
            return _validate(_with_sources(table, table, file), file)
        base = self._base(file, table.pop(_EXTENDS), table.get("model"))
        inherited = _table_of(base)
        if table.get("model", base.model) != base.model:
            inherited.pop("aliases", None)
        return _validate(_with_sources(_merge(inherited, table), table, file), file)

    def _base(self, file: str, name: object, model: object) -> Profile:
        if not isinstance(name, str):
            raise BadProfile(
                f"{_file_name(file)}: extends: {shown(name)} is no text; allowed is a model's name"
            )
        if name != model and (other := self._file_of(name)):
            return self._extend(file, other)
        base = self._known.get(name.casefold())
        if base is None and name == model:
            raise BadProfile(
                f"{_file_name(file)}: extends: {shown(name)} is the profile itself; allowed is another model"
            )
        if base is None:
            raise BadProfile(
                f"{_file_name(file)}: extends: {shown(name)} is not known; allowed are "
                f"{', '.join(profile.model for profile in self._known.values())}"
            )
        return base

    def _file_of(self, model: str) -> str | None:
        return next((file for file, table in self._tables.items() if table.get("model") == model), None)

    def _extend(self, file: str, other: str) -> Profile:
        self._under_way.append(file)
        try:
            if other in self._under_way:
                raise BadProfile(
                    f"{_file_name(self._under_way[0])}: extends: {self._chain(other)}; allowed is a "
                    "chain that ends at a profile without extends"
                )
            return self.profile(other)
        finally:
            self._under_way.pop()

    def _chain(self, last: str) -> str:
        """The models that extend each other, up to the one with which it begins again."""
        models = [shown(self._tables[file].get("model")) for file in (*self._under_way, last)]
        return " extends ".join(models)


def _files(path: Path) -> list[Path]:
    try:
        files = sorted(path.glob("*.toml")) if path.is_dir() else None
    except (OSError, ValueError) as error:  # a path that is too long, or may not be entered; a zero byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadProfile(f"{_file_name(path)} cannot be read: {one_line(reason)}") from error
    if files is not None:
        if not files:
            raise BadProfile(f"{_file_name(path)} has no profile; allowed are files named *.toml")
        if len(files) > _MOST_FILES:
            raise BadProfile(f"{_file_name(path)} has {len(files)} files; allowed are {_MOST_FILES}")
        return files
    return [path]


def _text(file: Path) -> str:
    shown_file = _file_name(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadProfile(f"{shown_file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the path
        raise BadProfile(f"{shown_file} cannot be read: {error}") from error
    if len(data) > MOST_BYTES:
        raise BadProfile(f"{shown_file} is no profile: it has more than {MOST_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadProfile(f"{shown_file} is no UTF-8 text: byte {error.start} is wrong") from error


def _parse(text: str, file: str) -> Table:
    try:
        return cast("Table", tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadProfile(f"{_file_name(file)} is no TOML: {one_line(str(error))}") from error


def _check_said(table: Table, file: str) -> None:
    """Find a file or a table in it that says nothing, which nobody means.

    Raises:
        BadProfile: There is one.
    """
    if not table:
        raise BadProfile(
            f"{_file_name(file)} is empty; allowed are extends and what differs, or all of "
            f"{', '.join(_required_keys())}"
        )
    for key, keys in _TABLES.items():
        if table.get(key) == {}:
            raise BadProfile(f"{_file_name(file)}: {key}: the table is empty; allowed are {keys}")
    quality = table.get("quality")
    for name, preset in cast("Table", quality).items() if isinstance(quality, dict) else ():
        if preset == {}:
            allowed = ", ".join(Preset.model_fields)
            raise BadProfile(
                f"{_file_name(file)}: quality.{one_line(name)}: the table is empty; allowed are {allowed}"
            )


def _required_keys() -> Iterator[str]:
    return (name for name, field in Profile.model_fields.items() if field.is_required())


def _validate(table: Table, file: str) -> Profile:
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        raise BadProfile(f"{_file_name(file)}: {_faults(error)}") from error


def _table_of(profile: Profile) -> Table:
    """The profile's own keys, as a file would have them."""
    return {name: _plain(getattr(profile, name)) for name in profile.model_fields_set}


def _plain(value: object) -> object:
    return dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value


def _merge(base: Table, own: Table) -> Table:
    """One table over another, key by key also in the tables within."""
    merged = dict(base)
    for key, value in own.items():
        merged[key] = _over(merged.get(key), value)
    return merged


def _over(base: object, own: object) -> object:
    """A value over another; a table over a table keeps what it does not name."""
    if not isinstance(own, dict):
        return own
    match base:
        case dict():
            return _merge(cast("Table", base), cast("Table", own))
        case CostLaw() | Preset() | EditRules():
            return _merge(base.model_dump(exclude_unset=True), cast("Table", own))
        case _:
            return cast("Table", own)


def _with_sources(table: Table, own: Table, file: str) -> Table:
    """The table with the file as the source of all that the file says and gives no other source for."""
    given, told = own.get("sources", {}), table.get("sources", {})
    if not isinstance(given, dict) or not isinstance(told, dict):
        return table
    said = [key for key in own if key not in _UNSOURCED and key not in given]
    sources: Table = {
        **cast("Table", told),
        **dict.fromkeys(said, f"Your own profile, {_file_name(file)}."),
    }
    facts = table.keys() - _UNSOURCED
    return {
        **table,
        "sources": {key: source for key, source in sources.items() if key in facts or key in given},
    }


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    told = "; ".join(_fault(fault) for fault in faults[:_SHOWN_FAULTS])
    more = len(faults) - _SHOWN_FAULTS
    hint = "; allowed is to give what is missing, or to extend a profile that has it"
    missing = any(fault["type"] == "missing" for fault in faults)
    return told + f"; and {more} more" * (more > 0) + hint * missing


def _fault(fault: ErrorDetails) -> str:
    key = one_line(".".join(str(part) for part in fault["loc"] if part != "[key]"))
    match fault["type"]:
        case "extra_forbidden":
            return f"{key}: no such key; allowed are {', '.join(_siblings(fault))}"
        case "missing":
            return f"{key}: missing"
        case "value_error":
            return f"{key}: {_message(fault)}" if key else _message(fault)
        case _:
            return f"{key}: {shown(fault['input'])} is not allowed; allowed is {_allowed_values(fault)}"


def _allowed_values(fault: ErrorDetails) -> str:
    """What a value must be, by the library's name for the fault."""
    context = fault.get("ctx", {})
    kind = fault["type"]
    if kind in {"greater_than_equal", "less_than_equal"} and (bounds := _bounds(fault)):
        return "{:g} to {:g}".format(*bounds)
    if kind in _KINDS:
        return _KINDS[kind].format_map(context)
    return str(context["expected"]) if kind == "literal_error" else _message(fault)


def _bounds(fault: ErrorDetails) -> tuple[float, float] | None:
    """Both bounds of a number, where its key has two."""
    field = Profile.model_fields.get(str(fault["loc"][0])) if len(fault["loc"]) == 1 else None
    said: dict[str, object] = {}
    for each in field.metadata if field else ():
        said |= {name: getattr(each, name) for name in ("ge", "le") if hasattr(each, name)}
    match said:
        case {"ge": int() | float() as least, "le": int() | float() as most}:
            return least, most
        case _:
            return None


def _message(fault: ErrorDetails) -> str:
    return one_line(fault["msg"].removeprefix("Value error, "), limit=300)


def _siblings(fault: ErrorDetails) -> Iterator[str]:
    """The keys that are allowed where an unknown one stands."""
    match fault["loc"]:
        case ("cost", _):
            yield from CostLaw.model_fields
        case ("edit", _):
            yield from EditRules.model_fields
        case ("quality", _, _):
            yield from Preset.model_fields
        case _:
            yield from Profile.model_fields


def _file_name(file: Path | str) -> str:
    """A file in a message: whole, since the end of its path is what tells it from another."""
    return one_line(str(file), limit=LONGEST_PATH)
