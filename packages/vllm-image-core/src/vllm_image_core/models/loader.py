"""Load model profiles from TOML files: the built-in ones, and a user's own, which may extend another.

A user's file has the keys of `Profile`. With ``extends = "Qwen/Qwen-Image"`` it needs only those that differ:
tables are merged key by key, and a file without `model` has that of the profile it extends. The file's own
values need no entry in ``[sources]``: the file is their source.
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
from vllm_image_core.text import LONGEST_PATH, brief, decode_text, one_line, system_reason

MOST_BYTES: Final = 1_000_000
"""A longer file is not read as a profile."""

_MOST_FILES: Final = 1_000
_SHOWN_FAULTS: Final = 5
_EXTENDS: Final = "extends"
_TABLES: Final = {
    "cost": ", ".join(CostLaw.model_fields),
    "loras": 'paths on the server by name, such as watercolor = "/loras/watercolor"',
    "older_servers": "since, before, max_input_images",
    "quality": "[quality.draft] and [quality.best]",
    "supported_aspect_ratios": 'sizes by ratio, such as "16:9" = [1344, 768]',
    "sources": "strings by key, such as default_steps",
}
_UNSOURCED: Final = frozenset({"model", "aliases", "type", "loras", "sources"})

_KINDS: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string",
    "greater_than_equal": "{ge:g} or more",
    "less_than_equal": "{le:g} or less",
    "greater_than": "a number above {gt:g}",
    "string_too_long": "a string of at most {max_length} characters",
    "string_too_short": "a string of at least 1 character",
    "string_pattern_mismatch": "a string that is not blank, without control characters",
    "bool_type": "true or false",
    "dataclass_exact_type": "a list of two whole numbers above 0, [width, height]",
    "tuple_type": "a list",
    "mapping_type": "a table",
    "dict_type": "a table",
    "model_type": "a table",
}
"""What a value must be, by the kind of fault; the braces are filled from the fault's own context."""

Table = dict[str, object]


def read_profile(text: str, *, file: str) -> Profile:
    """Read a profile that is complete in one TOML document, with a source for each number.

    `file` is the document's name, for messages.

    Raises:
        BadProfile: It is not TOML, a key is missing, unknown or out of range, or a number has no source.
    """
    return _validate(_parse(text, file), file)


def read_profiles(path: Path, *, known: Mapping[str, Profile]) -> tuple[Profile, ...]:
    """Read a user's profiles: from one TOML file, or from all ``*.toml`` files in a folder, sorted by name.

    The profiles in `path` itself may be extended, too.

    Raises:
        BadProfile: A file cannot be read or does not hold a profile; two are for the same model; or a profile
            extends an unknown one, or extends itself directly or through others.
    """
    tables = {str(file): _parse(_text(file), str(file)) for file in _files(path)}
    extender = _Extender(tables, known)
    profiles: dict[str, Profile] = {}
    for file in tables:
        profile = extender.profile(file)
        if profile.model in profiles:
            raise _refusal(file, f"model: another file is also for {brief(profile.model)}")
        profiles[profile.model] = profile
    return tuple(profiles.values())


class _Extender:
    """Builds profiles from tables, each merged over the profile that it extends."""

    def __init__(self, tables: Mapping[str, Table], known: Mapping[str, Profile]) -> None:
        self._tables = tables
        self._known = {name.casefold(): profile for name, profile in known.items()}
        self._in_progress: list[str] = []

    def profile(self, file: str) -> Profile:
        table = dict(self._tables[file])
        _refuse_empty_tables(table, file)
        if _EXTENDS not in table:
            return _validate(_with_sources(table, table, file), file)
        base = self._base(file, table.pop(_EXTENDS), table.get("model"))
        inherited = _table_of(base)
        if table.get("model", base.model) != base.model:
            inherited.pop("aliases", None)
        return _validate(_with_sources(_merge(inherited, table), table, file), file)

    def _base(self, file: str, name: object, model: object) -> Profile:
        if not isinstance(name, str):
            raise _refusal(file, f"extends: {brief(name)} is not a string; use a model's name")
        other = next((each for each, table in self._tables.items() if table.get("model") == name), None)
        if name != model and other:
            return self._extend(file, other)
        base = self._known.get(name.casefold())
        if base is None and name == model:
            raise _refusal(file, f"extends: {brief(name)} is the profile itself; name another model")
        if base is None:
            raise _refusal(
                file,
                f"extends: {brief(name)} is not a known model; use one of "
                f"{', '.join(profile.model for profile in self._known.values())}",
            )
        return base

    def _extend(self, file: str, other: str) -> Profile:
        self._in_progress.append(file)
        try:
            if other in self._in_progress:
                raise _refusal(
                    self._in_progress[0],
                    f"extends: {self._chain(other)}; the chain must end at a profile without extends",
                )
            return self.profile(other)
        finally:
            self._in_progress.pop()

    def _chain(self, last: str) -> str:
        """Name the models that extend each other, up to the one that closes the circle."""
        models = [brief(self._tables[file].get("model")) for file in (*self._in_progress, last)]
        return " extends ".join(models)


def _files(path: Path) -> list[Path]:
    try:
        files = sorted(path.glob("*.toml")) if path.is_dir() else None
    except (OSError, ValueError) as error:  # a path that is too long, or may not be entered; a zero byte
        raise BadProfile(f"{_file_name(path)} cannot be read: {system_reason(error)}") from error
    if files is not None:
        if not files:
            raise BadProfile(f"{_file_name(path)} has no profiles; their files must be named *.toml")
        if len(files) > _MOST_FILES:
            raise BadProfile(f"{_file_name(path)} has {len(files)} profiles; at most {_MOST_FILES} are read")
        return files
    return [path]


def _text(file: Path) -> str:
    shown_file = _file_name(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a zero byte in the path is a ValueError
        raise BadProfile(f"{shown_file} cannot be read: {system_reason(error)}") from error
    if len(data) > MOST_BYTES:
        raise BadProfile(f"{shown_file} is not a profile: it has more than {MOST_BYTES} bytes")
    try:
        return decode_text(data)
    except UnicodeDecodeError as error:
        raise BadProfile(
            f"{shown_file} is not {error.encoding.upper()}: byte {error.start} is invalid"
        ) from error


def _parse(text: str, file: str) -> Table:
    try:
        return cast("Table", tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadProfile(f"{_file_name(file)} is not valid TOML: {one_line(str(error))}") from error


def _refuse_empty_tables(table: Table, file: str) -> None:
    """Refuse an empty file, or an empty table in it, since nobody writes that on purpose."""
    if not table:
        raise BadProfile(
            f"{_file_name(file)} is empty; give extends and what differs, or all of "
            f"{', '.join(name for name, field in Profile.model_fields.items() if field.is_required())}"
        )
    for key, keys in _TABLES.items():
        if table.get(key) == {}:
            raise _refusal(file, f"{key}: the table is empty; it can hold {keys}")
    quality = table.get("quality")
    for name, preset in cast("Table", quality).items() if isinstance(quality, dict) else ():
        if preset == {}:
            allowed = ", ".join(Preset.model_fields)
            raise _refusal(file, f"quality.{one_line(name)}: the table is empty; it can hold {allowed}")


def _validate(table: Table, file: str) -> Profile:
    try:
        return Profile.model_validate(table)
    except ValidationError as error:
        raise _refusal(file, f"{_faults(error)}") from error


def _table_of(profile: Profile) -> Table:
    """Return the keys that the profile sets, as a file would have them."""
    return {name: _plain(getattr(profile, name)) for name in profile.model_fields_set}


def _plain(value: object) -> object:
    return dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value


def _merge(base: Table, own: Table) -> Table:
    """Merge one table over another, key by key, including nested tables."""
    return base | {key: _over(base.get(key), value) for key, value in own.items()}


def _over(base: object, own: object) -> object:
    """Put a value over another; a table over a table keeps the keys that it does not set."""
    if isinstance(base, CostLaw | Preset | EditRules):
        base = base.model_dump(exclude_unset=True)
    if isinstance(own, dict) and isinstance(base, dict):
        return _merge(cast("Table", base), cast("Table", own))
    return cast("object", own)


def _with_sources(table: Table, own: Table, file: str) -> Table:
    """Add the file as the source of each value that it sets without naming another source."""
    given, inherited = own.get("sources", {}), table.get("sources", {})
    if not isinstance(given, dict) or not isinstance(inherited, dict):
        return table
    own_keys = [key for key in own if key not in _UNSOURCED and key not in given]
    sources: Table = {
        **cast("Table", inherited),
        **dict.fromkeys(own_keys, f"Your own profile, {_file_name(file)}."),
    }
    facts = table.keys() - _UNSOURCED
    return {
        **table,
        "sources": {key: source for key, source in sources.items() if key in facts or key in given},
    }


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    first_faults = "; ".join(_fault(fault) for fault in faults[:_SHOWN_FAULTS])
    more = len(faults) - _SHOWN_FAULTS
    hint = "; add what is missing, or extend a profile that has it"
    missing = any(fault["type"] == "missing" for fault in faults)
    return first_faults + f"; and {more} more" * (more > 0) + hint * missing


def _fault(fault: ErrorDetails) -> str:
    key = one_line(".".join(str(part) for part in fault["loc"] if part != "[key]"))
    match fault["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key. Allowed: {', '.join(_siblings(fault))}"
        case "missing":
            return f"{key}: missing"
        case "value_error":
            return f"{key}: {_message(fault)}" if key else _message(fault)
        case _:
            return f"{key}: {brief(fault['input'])} is not valid; use {_allowed_values(fault)}"


def _allowed_values(fault: ErrorDetails) -> str:
    """Say what a value must be, by Pydantic's name for the fault."""
    context = fault.get("ctx", {})
    kind = fault["type"]
    if kind in {"greater_than_equal", "less_than_equal"} and (bounds := _bounds(fault)):
        return "{:g} to {:g}".format(*bounds)
    if kind in _KINDS:
        return _KINDS[kind].format_map(context)
    return str(context["expected"]) if kind == "literal_error" else _message(fault)


def _bounds(fault: ErrorDetails) -> tuple[float, float] | None:
    """Return both bounds of a number, if its key has two."""
    field = Profile.model_fields.get(str(fault["loc"][0])) if len(fault["loc"]) == 1 else None
    bounds: dict[str, object] = {}
    for each in field.metadata if field else ():
        bounds |= {name: getattr(each, name) for name in ("ge", "le") if hasattr(each, name)}
    match bounds:
        case {"ge": int() | float() as least, "le": int() | float() as most}:
            return least, most
        case _:
            return None


def _message(fault: ErrorDetails) -> str:
    return one_line(fault["msg"].removeprefix("Value error, "), limit=300)


def _siblings(fault: ErrorDetails) -> Iterator[str]:
    """List the keys that are allowed in the table that has an unknown one."""
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
    """Return a file's path for a message, with its end, which is what identifies the file."""
    return one_line(str(file), limit=LONGEST_PATH)


def _refusal(file: Path | str, fault: str) -> BadProfile:
    return BadProfile(f"{_file_name(file)}: {fault}")
