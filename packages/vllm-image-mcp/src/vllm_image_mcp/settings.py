"""Read and check the settings: arguments override the environment, which overrides the defaults."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from vllm_image_core.text import brief

from vllm_image_mcp.setting_values import clean_key, clean_path, clean_text, clean_url

__all__ = ["LogLevel", "Settings"]

_BETWEEN_FOLDERS: Final = re.compile(rf"{os.pathsep}(?!//)")
"""The separator of PATH, except for the colon of a URL."""

_URL: Final = "VLLM_IMAGE_URL"
"""The usual name for the address; VLLM_IMAGE_VLLM_URL is accepted too."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Settings(BaseModel):
    """The options of the command line; each can also be set in the environment as ``VLLM_IMAGE_<NAME>``.

    Nothing else reads the environment. An argument overrides it.

    Raises:
        pydantic.ValidationError: A value has the wrong type or is out of range.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # the API key is one of them
    )

    vllm_url: str = "http://localhost:6655"
    """Base URL of the vLLM-Omni server, or several with commas between them, to be used as one."""
    output_dir: Path = Path("generated_images")
    """Folder to save images in; a relative path is relative to the working folder."""
    max_concurrent: Annotated[int, Field(ge=1, le=64)] | None = None
    """Number of images of a batch to generate at once; None derives it from the GPU's memory."""
    timeout: float = Field(default=300, gt=0, le=86_400, allow_inf_nan=False)
    """Time limit for one image in seconds, including the server's queue and retries."""
    api_key: SecretStr | None = None
    """Sent to the server as a bearer token."""
    demo: bool = False
    """Simulate the server in this process; no server and no GPU are needed."""
    gpu_name: str | None = None
    """Name of the server's GPU, for gpu_status; the server itself does not report it."""
    gpu_vram_gb: float | None = Field(default=None, gt=0, le=100_000, allow_inf_nan=False)
    """Total memory of that GPU in GB, for gpu_status and for the number of images at once."""
    allow_dir: tuple[Path, ...] | None = None
    """Folders that edit_image may read, including their subfolders, besides the output folder."""
    profiles: Path | None = None
    """The user's own model profiles, a TOML file or a folder; they override the built-in ones."""
    metadata: Literal["all", "public", "none"] = "all"
    """Metadata to write into image files; public omits prompts and the server's address."""
    preview: Literal["none", "small", "large"] = "small"
    """Size of the preview in a tool's result."""
    structured_content: bool = True
    """Whether results have structured content; some hosts drop images next to it."""
    max_wait: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)
    """How long a call waits for its images in seconds; None: 45, or longer if the host is known to wait."""
    confirm_over: float | None = Field(default=None, gt=0, le=31_536_000, allow_inf_nan=False)
    """Ask the user before a batch whose estimate exceeds this many seconds; None never asks."""
    resume: bool = False
    """Resume every interrupted batch at startup."""
    log_level: LogLevel = "WARNING"
    """Minimum severity of log lines on stderr."""

    @model_validator(mode="before")
    @classmethod
    def _with_environment(cls, given: dict[str, object]) -> dict[str, object]:
        """Add the values of the environment, where empty ones count as not set and case does not matter."""
        environment = {name.upper(): value for name, value in os.environ.items() if value}
        names = {name: f"VLLM_IMAGE_{name.upper()}" for name in cls.model_fields}
        found = {name: environment[variable] for name, variable in names.items() if variable in environment}
        if _URL in environment:
            found["vllm_url"] = environment[_URL]
        return {**found, **given}

    @field_validator("output_dir", "profiles", mode="before")
    @classmethod
    def _path_as_written(cls, value: object) -> object:
        return clean_path(value) if isinstance(value, str) else value

    @field_validator(
        "max_concurrent",
        "timeout",
        "demo",
        "gpu_name",
        "gpu_vram_gb",
        "metadata",
        "preview",
        "structured_content",
        "max_wait",
        "confirm_over",
        "resume",
        "log_level",
        mode="before",
    )
    @classmethod
    def _text_as_written(cls, value: object) -> object:
        return clean_text(value) if isinstance(value, str) else value

    @field_validator("api_key", mode="before")
    @classmethod
    def _key_as_written(cls, value: object) -> object:
        return clean_key(value) if isinstance(value, str) else value

    @field_validator("max_concurrent", "max_wait", mode="before")
    @classmethod
    def _auto_is_none(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "auto" else value

    @field_validator("allow_dir", mode="before")
    @classmethod
    def _as_a_path_variable(cls, value: object) -> object:
        """Split several folders as in PATH; refuse an empty name, which is a mistake."""
        given = _BETWEEN_FOLDERS.split(value) if isinstance(value, str) else value
        if not isinstance(given, list | tuple):
            return given
        folders = cast("Sequence[object]", given)
        if "" in folders:
            raise ValueError("an empty name is not a folder")
        return tuple(clean_path(each) if isinstance(each, str) else each for each in folders)

    @field_validator("allow_dir")
    @classmethod
    def _are_folders(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        folders = tuple(folder.expanduser() for folder in value or ())
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112 - a Path raises where it may not look
                raise ValueError(f"{brief(str(folder))} is not a folder, or this program cannot access it")
        return folders or None

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("vllm_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        """Report a bad address at startup rather than at the first image; the client checks the rest."""
        urls = [_check_address(clean_url(url)) for url in clean_url(value).split(",")]
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
        """Build settings from arguments; None means that an argument was not given."""
        return cls(**{name: value for name, value in given.items() if value is not None})


def _check_address(url: str) -> str:
    parts = urlsplit(url.strip())
    if "@" in url:
        raise ValueError("contains a user name or password; use --api-key for the key")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError('must be an address such as "http://localhost:6655"')
    return url.strip()
