"""Define each setting once: its type, default, environment variable, command-line option and help."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import get_annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from vllm_image_mcp.setting_sources import GivenValue, collect
from vllm_image_mcp.setting_values import (
    clean_file,
    clean_folders,
    clean_headers,
    clean_host_names,
    clean_key,
    clean_key_file,
    clean_path,
    clean_proxy,
    clean_public_url,
    clean_text,
    clean_upper,
    clean_urls,
    none_if_auto,
)

if TYPE_CHECKING:
    from vllm_image_mcp.settings import Settings

_PREFIX: Final = "VLLM_IMAGE_"

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a setting is given: its option on the command line, and what its text may look like.

    Attributes:
        help: What the option does.
        metavar: The name of its value; "" for a flag.
        clean: Turns the text into the value to check, or raises ValueError.
        variable: Its environment variable, if that is not simply named after the setting.
        repeatable: Whether the option may be given several times; then ``clean`` gets text or a tuple.
        secret: Whether the value must not be shown.
        mcp_only: Whether only the MCP server has the option, and no shell command.
        at_least: The least number allowed.
        above: The value must be greater than this number.
        at_most: The greatest number allowed.
    """

    help: str
    metavar: str = ""
    clean: Callable[[Any], object] = clean_text
    variable: str = ""
    repeatable: bool = False
    secret: bool = False
    mcp_only: bool = False
    at_least: float = -math.inf
    above: float = -math.inf
    at_most: float = math.inf

    def check(self, value: object) -> None:
        """Raise ValueError for a number that is not allowed; anything else is ignored."""
        if not isinstance(value, (int, float)):
            return
        if not value > self.above:
            raise ValueError(f"must be greater than {self.above:g}")
        if not value >= self.at_least:
            raise ValueError(f"must be at least {self.at_least:g}")
        if value > self.at_most:
            raise ValueError(f"must be at most {self.at_most}")


class SettingTable:
    """The settings: options of the command line, variables of the environment, or values in a TOML file.

    An argument overrides the environment, which overrides the file. `Settings` checks their
    values; this table does without pydantic, so that the help and a shell's completions appear at once.
    """

    vllm_url: Annotated[
        str,
        Setting(
            "Address of the vLLM-Omni server; repeat it to use several as one.",
            "URL",
            clean_urls,
            variable="VLLM_IMAGE_URL",
            repeatable=True,
        ),
    ] = "http://localhost:6655"
    """The base URL, or several with commas between them."""
    output_dir: Annotated[Path, Setting("Folder to save images in.", "DIR", clean_path)] = Path(
        "generated_images"
    )
    max_concurrent: Annotated[
        int | None,
        Setting("Images of a batch to generate at once.", "N|auto", none_if_auto, at_least=1, at_most=64),
    ] = None
    """None derives it from the GPU's memory."""
    timeout: Annotated[
        float,
        Setting("Time limit for one image, including the queue.", "SECONDS", above=0, at_most=86_400),
    ] = 300
    """The server's queue and retries are included."""
    api_key: Annotated[
        Any, Setting("The server's API key; prefer VLLM_IMAGE_API_KEY.", "KEY", clean_key, secret=True)
    ]
    api_key_file: Annotated[
        Path | None, Setting("File with the server's API key, instead of --api-key.", "FILE", clean_key_file)
    ] = None
    header: Annotated[
        Any,
        Setting(
            "Header of every request, for a gateway; can be repeated. Prefer VLLM_IMAGE_HEADER.",
            '"NAME: VALUE"',
            clean_headers,
            repeatable=True,
            secret=True,
        ),
    ]
    """In the environment, one on each line."""
    ca_file: Annotated[
        Path | None,
        Setting("CA certificates (PEM) to trust instead of the public ones.", "FILE", clean_file),
    ] = None
    proxy: Annotated[
        Any,
        Setting(
            "Proxy for the servers, or none; prefer VLLM_IMAGE_PROXY if it has a password.",
            "URL",
            clean_proxy,
            secret=True,
        ),
    ]
    """Without it, the environment's proxy is used for servers outside the local network."""
    model: Annotated[
        str | None,
        Setting("Model to use, if the server lists several, as gateways do.", "NAME"),
    ] = None
    """None uses the first one that has a profile."""
    assume_edits: Annotated[bool, Setting("Try edits with a model that has no profile.")] = False
    demo: Annotated[bool, Setting("Simulate the server; no GPU needed.")] = False
    gpu_name: Annotated[
        str | None, Setting("Name of the server's GPU, for gpu_status.", "NAME", mcp_only=True)
    ] = None
    gpu_vram_gb: Annotated[
        float | None,
        Setting("Memory of the server's GPU, for gpu_status and batches.", "GB", above=0, at_most=100_000),
    ] = None
    allow_dir: Annotated[
        tuple[Path, ...] | None,
        Setting(
            "Folder that edit_image may read, and rate_images export to; can be repeated.",
            "DIR",
            clean_folders,
            repeatable=True,
            mcp_only=True,
        ),
    ] = None
    """Their subfolders are included."""
    profiles: Annotated[
        Path | None, Setting("Your own model profiles: a TOML file or a folder.", "PATH", clean_path)
    ] = None
    styles_dir: Annotated[Path | None, Setting("Folder of your own styles.", "DIR", clean_path)] = None
    """None: ``styles`` next to the settings file in the user's folder for configuration."""
    metadata: Annotated[
        Literal["all", "public", "none"], Setting("File metadata: all, public (no prompts) or none.", "WHAT")
    ] = "all"
    """Public metadata has no server address either."""
    preview: Annotated[
        Literal["none", "small", "large"],
        Setting("Preview in results: none, small or large.", "SIZE", mcp_only=True),
    ] = "small"
    structured_content: Annotated[
        bool,
        Setting("Structured content in results; turn it off for hosts that then drop images.", mcp_only=True),
    ] = True
    max_wait: Annotated[
        float | None,
        Setting(
            "How long a call waits for images.",
            "SECONDS|auto",
            none_if_auto,
            mcp_only=True,
            at_least=0,
            at_most=86_400,
        ),
    ] = None
    """None: 45 seconds, or longer if the host is known to wait."""
    confirm_over: Annotated[
        float | None,
        Setting(
            "Ask before a batch whose estimate is longer.",
            "SECONDS",
            mcp_only=True,
            above=0,
            at_most=31_536_000,
        ),
    ] = None
    resume: Annotated[bool, Setting("Resume interrupted batches at startup.", mcp_only=True)] = False
    log_level: Annotated[
        LogLevel, Setting("Log level: DEBUG, INFO, WARNING or ERROR.", "LEVEL", clean_upper)
    ] = "WARNING"

    transport: Annotated[
        Literal["stdio", "http"],
        Setting("How hosts connect: stdio, or http for Streamable HTTP.", "KIND", mcp_only=True),
    ] = "stdio"
    host: Annotated[str, Setting("Address to listen on, with --transport http.", "HOST", mcp_only=True)] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Setting("Port to listen on; 0 for any.", "PORT", mcp_only=True, at_least=0, at_most=65_535)
    ] = 8765
    allowed_host: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Name under which clients may address the server; can be repeated.",
            "NAME",
            clean_host_names,
            repeatable=True,
            mcp_only=True,
        ),
    ] = None
    """In the environment, separated by commas."""
    token: Annotated[
        Any,
        Setting(
            "Bearer token that clients must send; prefer VLLM_IMAGE_TOKEN.",
            "TOKEN",
            clean_key,
            secret=True,
            mcp_only=True,
        ),
    ]
    token_file: Annotated[
        Path | None,
        Setting("File with the bearer token, instead of --token.", "FILE", clean_key_file, mcp_only=True),
    ] = None
    users_file: Annotated[
        Path | None,
        Setting(
            "TOML file of several users, each with a token, a folder and limits of their own.",
            "FILE",
            clean_file,
            mcp_only=True,
        ),
    ] = None
    """Instead of a single token; each user's folder is below ``users`` in the output folder."""
    public_url: Annotated[
        str | None,
        Setting(
            "Address under which clients reach the server, for links to images.",
            "URL",
            clean_public_url,
            mcp_only=True,
        ),
    ] = None
    """None: the address that each client used."""
    config: Annotated[
        Path | None,
        Setting("Settings file in TOML, instead of the one in your home folder.", "FILE", clean_path),
    ] = None
    """None: ``vllm-image-mcp/config.toml`` in the user's folder for configuration, if it exists."""

    @classmethod
    def from_arguments(cls, **given: Any) -> "Settings":  # noqa: ANN401 - the values are checked by the fields
        """Build settings from arguments; None means that an argument was not given.

        Raises:
            pydantic.ValidationError: A value has the wrong type or is out of range, or the file is unusable.
        """
        from vllm_image_mcp.settings import Settings  # noqa: PLC0415 - slow to import

        return Settings.from_arguments(**given)

    @classmethod
    def given(cls, arguments: Mapping[str, object]) -> Mapping[str, GivenValue]:
        """Return the settings that are given, unchecked, with the source of each.

        Raises:
            ValueError: The settings file cannot be used.
        """
        names = {name: (f"{_PREFIX}{name.upper()}", cls.variable(name)) for name in cls.table()}
        return collect(names, arguments, os.environ)

    @classmethod
    def table(cls) -> Mapping[str, Setting]:
        """Return how each setting is given, by its name."""
        return {
            name: setting
            for name, annotation in get_annotations(SettingTable).items()
            for setting in getattr(annotation, "__metadata__", ())
            if isinstance(setting, Setting)
        }

    @classmethod
    def default(cls, name: str) -> object:
        """Return the default of a setting; None if there is none."""
        return getattr(SettingTable, name, None)

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the environment variable of a setting."""
        return cls.table()[name].variable or f"{_PREFIX}{name.upper()}"
