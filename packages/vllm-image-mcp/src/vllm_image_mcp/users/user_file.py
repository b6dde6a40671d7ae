"""Read the TOML file of a server's users: their names, tokens and limits."""

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from vllm_image_core.batches.limits import Limits
from vllm_image_core.text import brief, decode_text

from vllm_image_mcp.setting_values import clean_key, read_key
from vllm_image_mcp.users.user import User, Users, digest_of

_LEAST_TOKEN: Final = 16
"""Minimum characters in a token: `openssl rand -hex 16` prints 32."""

_NAME: Final = r"^[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?$"
_RESERVED: Final = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
"""Names that Windows gives to devices; folders travel between systems."""

_LARGEST: Final = 1_000_000
_WAYS: Final = ("token", "token_file", "token_sha256")


class _Entry(BaseModel):
    """A user as the file describes it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    name: Annotated[str, Field(pattern=_NAME)]
    token: SecretStr | None = None
    token_file: str | None = None
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    images_per_hour: Annotated[int, Field(ge=1, le=_LARGEST)] | None = None
    megapixels_in_flight: Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False)] | None = None
    share: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)] = 1.0
    metrics: bool = False

    @model_validator(mode="after")
    def _check(self) -> "_Entry":
        if _RESERVED.fullmatch(self.name):
            raise ValueError(f"{self.name} is the name of a device on Windows. Use another name")
        if sum(getattr(self, way) is not None for way in _WAYS) != 1:
            raise ValueError(f"needs one of: {', '.join(_WAYS)}")
        return self

    def user(self, folder: Path) -> User:
        """Return the user; paths are relative to the folder of the file. Raise ValueError for a bad token."""
        return User(
            name=self.name,
            digest=self._digest(folder),
            limits=Limits(
                images_per_hour=self.images_per_hour, megapixels_in_flight=self.megapixels_in_flight
            ),
            share=self.share,
            reads_metrics=self.metrics,
        )

    def _digest(self, folder: Path) -> bytes:
        if self.token_sha256 is not None:
            return bytes.fromhex(self.token_sha256)
        if self.token_file is not None:
            token = read_key(folder / Path(self.token_file).expanduser())
        else:
            token = clean_key(self.token.get_secret_value() if self.token else "")
        if len(token) < _LEAST_TOKEN:
            raise ValueError(
                f"has a token that is easy to guess. Use at least {_LEAST_TOKEN} characters, such as those "
                "that `openssl rand -hex 16` prints"
            )
        return digest_of(token)


def read_users(file: Path) -> Users:
    """Read the users of a server from a TOML file with a table `[[user]]` for each.

    Raises:
        ValueError: The file cannot be read, or it describes users who cannot be told apart. The message
            contains no token.
    """
    shown = brief(str(file))
    try:
        values = tomllib.loads(decode_text(file.expanduser().read_bytes()))
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # TOML and UTF-8; the text of the error may quote a token
        place = re.search(r"\(at .*\)$", str(error))
        raise ValueError(f"{shown} is not valid TOML {place[0] if place else ''}".rstrip()) from None
    given = values.pop("user", None)
    entries = cast("list[object]", given) if isinstance(given, list) else []
    if values or not entries:
        raise ValueError(f"{shown} must consist of [[user]] tables, each with a name and a token")
    users = [_user(entry, number, file, shown) for number, entry in enumerate(entries, 1)]
    _check_distinct("name", [user.name for user in users], users, shown)
    _check_distinct("token", [user.digest for user in users], users, shown)
    return Users(users)


def _check_distinct(what: str, values: Sequence[object], users: Sequence[User], shown: str) -> None:
    counts = Counter(values)
    same = [user.name for user, value in zip(users, values, strict=True) if counts[value] > 1]
    if same:
        raise ValueError(f"{shown}: each user needs a {what} of its own. The same: {', '.join(same)}")


def _user(entry: object, number: int, file: Path, shown: str) -> User:
    try:
        checked = _Entry.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{shown}: user {number}{f', {where}' if where else ''}: {reason}") from None
    try:
        return checked.user(file.expanduser().parent)
    except ValueError as error:
        raise ValueError(f"{shown}: {checked.name} {error}") from None
