"""What the server was told at its start: arguments first, then the environment, then defaults."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from vllm_image_core.text import shown

from vllm_image_mcp.setting_values import key_as_written, path_as_written, text_as_written, url_as_written

__all__ = ["LogLevel", "Settings"]

_BETWEEN_FOLDERS: Final = re.compile(rf"{os.pathsep}(?!//)")
"""As in PATH, but for the colon of a URL."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseSettings):
    """Every option of the command line; each can stand in the environment as ``VLLM_IMAGE_<NAME>``.

    This is the only reader of the environment. An option that was given as an argument wins over it.

    Raises:
        pydantic.ValidationError: A value is of the wrong kind or outside of its range.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="VLLM_IMAGE_",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # the API key is one of them
    )

    vllm_url: str = Field(
        default="http://localhost:6655",
        validation_alias=AliasChoices("VLLM_IMAGE_URL", "VLLM_IMAGE_VLLM_URL"),
    )
    """Base URL of the vLLM-Omni server; of several servers that are used as one, all with commas between."""
    output_dir: Path = Path("generated_images")
    """Where pictures are saved; relative to the working folder."""
    max_concurrent: Annotated[int | None, Field(ge=1, le=64), NoDecode] = None
    """Pictures of a batch under way at once; None lets the GPU's memory decide."""
    timeout: float = Field(default=300, gt=0, le=86_400, allow_inf_nan=False)
    """Seconds that one picture may take, waiting in the server's queue and retries included."""
    api_key: SecretStr | None = None
    """Sent to the server as a bearer token."""
    demo: bool = False
    """Draw simulated pictures in this process; no server and no GPU are needed."""
    gpu_name: str | None = None
    """The server's card, for gpu_status; the server itself does not tell."""
    gpu_vram_gb: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    """The card's total memory in GB, for gpu_status and for the number of pictures at once."""
    allow_dir: Annotated[tuple[Path, ...] | None, NoDecode] = None
    """Folders from which edit_image may read pictures, and below; the output folder is always one."""
    profiles: Path | None = None
    """A user's own model profiles, a TOML file or a folder of them; they win over the built-in ones."""
    metadata: Literal["all", "public", "none"] = "all"
    """What is written into the pictures' files: public is without prompts and the server's address."""
    preview: Literal["none", "small", "large"] = "small"
    """How large the picture is that a tool's result shows beside its links."""
    structured_content: bool = True
    """Whether results have structured content; some hosts show no picture beside it."""
    max_wait: Annotated[float | None, Field(ge=0, le=86_400, allow_inf_nan=False), NoDecode] = None
    """Seconds that a call waits for its pictures; None for 45, and longer where the host is known to wait."""
    confirm_over: float | None = Field(default=None, gt=0, le=31_536_000, allow_inf_nan=False)
    """Seconds of a batch's estimate above which the user is asked before it begins."""
    resume: bool = False
    """Go on at the start with every batch that was cut off."""
    log_level: LogLevel = "WARNING"
    """Least severe log line written to stderr."""

    @field_validator("output_dir", "profiles", mode="before")
    @classmethod
    def _path_as_written(cls, value: object) -> object:
        return path_as_written(value) if isinstance(value, str) else value

    @field_validator("gpu_name", mode="before")
    @classmethod
    def _text_as_written(cls, value: object) -> object:
        return text_as_written(value) if isinstance(value, str) else value

    @field_validator("api_key", mode="before")
    @classmethod
    def _key_as_written(cls, value: object) -> object:
        return key_as_written(value) if isinstance(value, str) else value

    @field_validator("max_concurrent", "max_wait", mode="before")
    @classmethod
    def _auto_is_none(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "auto" else value

    @field_validator("allow_dir", mode="before")
    @classmethod
    def _as_a_path_variable(cls, value: object) -> object:
        """Several folders in one variable stand as in PATH; an empty name is a slip, not this folder."""
        given = _BETWEEN_FOLDERS.split(value) if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        folders = cast("Sequence[object]", given)
        if "" in folders:
            raise ValueError("an empty name is no folder")
        return tuple(path_as_written(each) if isinstance(each, str) else each for each in folders)

    @field_validator("allow_dir")
    @classmethod
    def _are_folders(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        folders = tuple(folder.expanduser() for folder in value or ())
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112 - a Path raises where it may not look
                raise ValueError(f"{shown(str(folder))} is not a folder, or this program may not look at it")
        return folders or None

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("vllm_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        """Found at the start, and not at the first picture; the client looks more closely."""
        urls = [_check_address(url_as_written(url)) for url in url_as_written(value).split(",")]
        if len(set(urls)) < len(urls):
            raise ValueError("names a server twice")
        return ",".join(urls)

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value() if value else ""
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("must be printable ASCII without spaces")
        return value

    @property
    def vllm_urls(self) -> tuple[str, ...]:
        """The base URLs of the servers, at least one."""
        return tuple(self.vllm_url.split(","))

    @classmethod
    def from_arguments(cls, **given: Any) -> Self:  # noqa: ANN401 - the values are checked by the fields
        """Settings from the arguments that were given, None meaning "not given"."""
        return cls(**{name: value for name, value in given.items() if value is not None})


def _check_address(url: str) -> str:
    parts = urlsplit(url.strip())
    if "@" in url:
        raise ValueError("holds a user name or password; give the key with --api-key")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError('must be an address such as "http://localhost:6655"')
    return url.strip()
