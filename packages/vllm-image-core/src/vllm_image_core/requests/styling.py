"""Apply a style to a request, and check the values of one that was read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests import limits
from vllm_image_core.requests.fields import RequestValues
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.requests.note import Note
from vllm_image_core.requests.style import TEXTS, Style
from vllm_image_core.text import brief

if TYPE_CHECKING:
    from vllm_image_core.models.profile import Profile

_NOT_OF_A_STYLE: Final = (
    *("style", "negative_prompt", "seed", "filename", "quality", "tag"),
    *("output_format", "output_compression", "generator_device"),
)
SETTINGS: Final = tuple(name for name in RequestValues.__annotations__ if name not in _NOT_OF_A_STYLE)
"""The fields of a request that a style may set."""

_OF_MODELS: Final = ("prefix", "suffix", "negative_prompt", *SETTINGS)
_SIZES: Final = ("width", "height", "aspect_ratio")
_MOST_CHARACTERS: Final = 4_000

RequestT = TypeVar("RequestT", bound=ImageRequest)


def read_style(name: str, table: Mapping[str, object]) -> Style:
    """Read a style from the table that `Style.as_table` returns, with a check of each value.

    Raises:
        InvalidRequest: A key is unknown, or its value cannot be used.
    """
    for key in table:
        if key not in (*TEXTS, "settings", "models"):
            raise _unknown_key(name, key, (*TEXTS, "settings", "models"))
    models = _table(name, "models", table.get("models", {}))
    return Style(
        name=name,
        **{key: _text(name, key, table[key]) for key in TEXTS if key in table},
        settings=_settings(name, "settings", table.get("settings", {}), SETTINGS),
        models={key: _settings(name, f"models.{key}", models[key], _OF_MODELS) for key in models},
    )


def apply_style(request: RequestT, profile: Profile) -> tuple[RequestT, frozenset[str], tuple[Note, ...]]:
    """Return a request with its style applied, the fields that it filled in, and a note on that.

    The request's own values override the style's settings, and so do those of its quality. The result has
    the style's name alone, so that it is applied once.

    Raises:
        InvalidRequest: The request's style is not a `Style`.
    """
    style: object = request.style
    if style is None:
        return request, frozenset(), ()
    if not isinstance(style, Style):
        raise InvalidRequest(
            f"style: {brief(style)} is not a style.",
            parameter="style",
            value=style,
            allowed="the name of a style, or a Style",
        )
    if not style.as_table():
        return request, frozenset(), ()
    chosen = style.for_model(profile)
    changes = {name: chosen.settings[name] for name in _open_settings(request, chosen, profile)}
    said: list[str] = []
    if isinstance(request.prompt, str) and request.prompt.strip():  # pyright: ignore[reportUnnecessaryIsInstance] - unchecked
        prompt = chosen.styled(request.prompt)
        if prompt != request.prompt:
            changes["prompt"] = prompt
            said.append("added words to the prompt")
    if chosen.negative_prompt and profile.supports_negative_prompt:
        changes["negative_prompt"] = _joined(request.negative_prompt, chosen.negative_prompt)
        said.append("added to negative_prompt")
    elif chosen.negative_prompt:
        said.append(f"left out its negative prompt, which {profile.model} does not support")
    fields = [name for name in changes if name not in {"prompt", "negative_prompt"}]
    if fields:
        said.append(f"set {', '.join(fields)}")
    message = f"Style {style.name} {_list(said) or 'changed nothing'}."
    applied = replace(request, **changes, style=Style(name=style.name))
    return applied, frozenset(changes), (Note(parameter="style", message=message),)


def _open_settings(request: ImageRequest, style: Style, profile: Profile) -> Iterator[str]:
    """Yield the names of the settings of a style that a request, and its quality, leave open."""
    own_size = request.task == "edit" or any(getattr(request, name) is not None for name in _SIZES)
    quality: object = request.quality
    preset = next((each for name, each in profile.quality.items() if name == quality), None)
    for name in style.settings:
        if getattr(request, name) is not None or (name in _SIZES and own_size):
            continue
        if getattr(preset, name, None) is None:
            yield name


def _joined(own: str | None, added: str) -> str | None:
    if own is not None and not isinstance(own, str):  # pyright: ignore[reportUnnecessaryIsInstance] - unchecked
        return own
    return f"{own.strip()}, {added}" if own and own.strip() else added


def _list(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _text(name: str, key: str, value: object) -> str:
    try:
        return limits.text(key, value, max_characters=_MOST_CHARACTERS)
    except InvalidRequest as error:
        raise _refusal(name, error.message, error.allowed) from error


def _table(name: str, key: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _refusal(name, f"{key} is not a table.", "a table")
    return cast("Mapping[str, object]", value)


def _settings(name: str, key: str, value: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    return {each: _setting(name, key, each, one, allowed) for each, one in _table(name, key, value).items()}


def _setting(name: str, key: str, field: str, value: object, allowed: tuple[str, ...]) -> object:
    if field not in allowed:
        raise _unknown_key(name, f"{key}.{field}", allowed)
    if field in TEXTS:
        return _text(name, f"{key}.{field}", value)
    try:
        if field in {"width", "height"}:
            return limits.side(field, value, multiple=1)
        return limits.check(field, value)
    except InvalidRequest as error:
        raise _refusal(name, f"{key}.{error.message}", error.allowed) from error


def _unknown_key(name: str, key: str, allowed: tuple[str, ...]) -> InvalidRequest:
    known = ", ".join(allowed)
    return _refusal(name, f"{brief(key)} is not a key of a style. Allowed: {known}.", known)


def _refusal(name: str, why: str, allowed: str) -> InvalidRequest:
    return InvalidRequest(
        f"The style {brief(name)} cannot be used: {why}",
        parameter="style",
        value=name,
        allowed=allowed,
        next_step="Correct the style's file, or save it again.",
    )
