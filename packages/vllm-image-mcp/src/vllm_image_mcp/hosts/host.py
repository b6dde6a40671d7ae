"""The known MCP hosts: where each keeps its configuration, what an entry looks like, and its own command."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vllm_image_mcp.hosts.launch import Launch
from vllm_image_mcp.known_folders import (
    application_settings_folder,
    home_folder,
    local_data_folder,
    pictures_folder,
)

Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFolders:
    """The folders of a user on one system.

    Attributes:
        home: The home folder.
        settings: Where programs keep settings.
        local_data: Where programs keep data of this machine.
        pictures: Where images are kept.
        working: The folder that the user works in.
        system: The name of the system, as `sys.platform` has it.
        environment: The environment variables that move hosts' folders.
    """

    home: Path
    settings: Path
    local_data: Path
    pictures: Path
    working: Path
    system: str = sys.platform
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of_this_user(cls, environment: Mapping[str, str]) -> "UserFolders":
        """Return the folders of the user who runs this program."""
        return cls(
            home=home_folder() or Path(),
            settings=application_settings_folder(),
            local_data=local_data_folder(),
            pictures=pictures_folder(),
            working=Path.cwd(),
            environment=environment,
        )

    @property
    def dot_config(self) -> Path:
        """The XDG folder for settings, which some programs use on every system."""
        return Path(self.environment.get("XDG_CONFIG_HOME") or self.home / ".config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An MCP host.

    Attributes:
        name: Its name on the command line.
        title: Its name.
        file: Returns its configuration file.
        keys: The keys that lead to the servers in that file.
        entry: Returns the entry of a server.
        program: Its command-line program; "" if that cannot add a server.
        add: Returns the arguments with which that program adds a server.
        remove: Returns the arguments with which it removes one, if it does not replace an entry by itself.
        runs_in_project: Whether it starts servers in the project's folder.
        shows_structured_content: Whether it shows images next to structured content.
        then: What a user has to do next.
    """

    name: str
    title: str
    file: Callable[[UserFolders], Path]
    keys: Sequence[str]
    entry: Callable[[Launch], Entry]
    program: str = ""
    add: Callable[[str, Launch], Sequence[str]] | None = None
    remove: Callable[[str], Sequence[str]] | None = None
    runs_in_project: bool = False
    shows_structured_content: bool = True
    then: str


def _plain(launch: Launch) -> Entry:
    """The entry that most hosts share."""
    environment = {"env": dict(launch.environment)} if launch.environment else {}
    return {"command": launch.command, "args": list(launch.arguments), **environment}


def _for_vscode(launch: Launch) -> Entry:
    return {"type": "stdio", **_plain(launch)}


def _for_opencode(launch: Launch) -> Entry:
    environment = {"environment": dict(launch.environment)} if launch.environment else {}
    return {"type": "local", "command": [launch.command, *launch.arguments], "enabled": True, **environment}


def _claude_desktop_file(folders: UserFolders) -> Path:
    name = Path("Claude", "claude_desktop_config.json")
    if folders.system == "win32":
        # The version from Microsoft's store sees its own copy of %APPDATA%.
        for package in sorted(folders.local_data.glob("Packages/Claude_*")):
            return package / "LocalCache" / "Roaming" / name
    return folders.settings / name


def _codex_file(folders: UserFolders) -> Path:
    return Path(folders.environment.get("CODEX_HOME") or folders.home / ".codex") / "config.toml"


def _opencode_file(folders: UserFolders) -> Path:
    folder = folders.dot_config / "opencode"
    commented = folder / "opencode.jsonc"
    return commented if commented.exists() else folder / "opencode.json"


def _zed_file(folders: UserFolders) -> Path:
    if folders.system == "win32":
        return folders.settings / "Zed" / "settings.json"
    return (
        (folders.home / ".config" if folders.system == "darwin" else folders.dot_config)
        / "zed"
        / "settings.json"
    )


def _variables(launch: Launch, option: str) -> list[str]:
    return [word for name, value in launch.environment.items() for word in (option, f"{name}={value}")]


HOSTS: Final = {
    host.name: host
    for host in (
        Host(
            name="claude-code",
            title="Claude Code",
            file=lambda folders: folders.working / ".mcp.json",
            keys=("mcpServers",),
            entry=_plain,
            program="claude",
            add=lambda name, launch: [
                *("mcp", "add", "--scope", "user", name, *_variables(launch, "-e")),
                *("--", launch.command, *launch.arguments),
            ],
            remove=lambda name: ["mcp", "remove", "--scope", "user", name],
            runs_in_project=True,
            then="Start `claude` again; /mcp shows the server.",
        ),
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            file=_claude_desktop_file,
            keys=("mcpServers",),
            entry=_plain,
            then="Quit Claude Desktop completely and start it again.",
        ),
        Host(
            name="cursor",
            title="Cursor",
            file=lambda folders: folders.home / ".cursor" / "mcp.json",
            keys=("mcpServers",),
            entry=_plain,
            then="Switch the server on in Cursor's settings, under MCP.",
        ),
        Host(
            name="vscode",
            title="VS Code",
            file=lambda folders: folders.settings / "Code" / "User" / "mcp.json",
            keys=("servers",),
            entry=_for_vscode,
            program="code",
            add=lambda name, launch: ["--add-mcp", json.dumps({"name": name, **_for_vscode(launch)})],
            then="Open the chat in agent mode; the command `MCP: List Servers` shows the server.",
        ),
        Host(
            name="windsurf",
            title="Windsurf",
            file=lambda folders: folders.home / ".codeium" / "windsurf" / "mcp_config.json",
            keys=("mcpServers",),
            entry=_plain,
            then="Refresh the list of MCP servers in Cascade.",
        ),
        Host(
            name="codex",
            title="Codex",
            file=_codex_file,
            keys=("mcp_servers",),
            entry=_plain,
            program="codex",
            add=lambda name, launch: [
                *("mcp", "add", name, *_variables(launch, "--env")),
                *("--", launch.command, *launch.arguments),
            ],
            runs_in_project=True,
            shows_structured_content=False,
            then="Start `codex` again; `codex mcp list` shows the server.",
        ),
        Host(
            name="gemini-cli",
            title="Gemini CLI",
            file=lambda folders: folders.home / ".gemini" / "settings.json",
            keys=("mcpServers",),
            entry=_plain,
            program="gemini",
            add=lambda name, launch: [
                *("mcp", "add", "--scope", "user", name, launch.command, *_variables(launch, "--env")),
                *("--", *launch.arguments),
            ],
            runs_in_project=True,
            then="Start `gemini` again in a trusted folder; /mcp shows the server.",
        ),
        Host(
            name="zed",
            title="Zed",
            file=_zed_file,
            keys=("context_servers",),
            entry=_plain,
            then="Open the agent panel's settings; the server's dot turns green.",
        ),
        Host(
            name="opencode",
            title="OpenCode",
            file=_opencode_file,
            keys=("mcp",),
            entry=_for_opencode,
            runs_in_project=True,
            shows_structured_content=False,
            then="Start `opencode` again; `opencode mcp list` shows the server.",
        ),
    )
}
"""The known hosts by their names on the command line."""
