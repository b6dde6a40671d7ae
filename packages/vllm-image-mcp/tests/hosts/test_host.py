"""Where each host keeps its configuration, on each system."""

from pathlib import Path

import pytest
from vllm_image_mcp.hosts.host import HOSTS, UserFolders


def folders(root: Path, system: str, **environment: str) -> UserFolders:
    return UserFolders(
        home=root / "home",
        settings=root / "settings",
        local_data=root / "local",
        pictures=root / "pictures",
        working=root / "project",
        system=system,
        environment=environment,
    )


@pytest.mark.parametrize(
    ("host", "system", "file"),
    [
        ("claude-code", "linux", "project/.mcp.json"),
        ("claude-desktop", "darwin", "settings/Claude/claude_desktop_config.json"),
        ("claude-desktop", "win32", "settings/Claude/claude_desktop_config.json"),
        ("cursor", "win32", "home/.cursor/mcp.json"),
        ("vscode", "darwin", "settings/Code/User/mcp.json"),
        ("windsurf", "linux", "home/.codeium/windsurf/mcp_config.json"),
        ("codex", "linux", "home/.codex/config.toml"),
        ("gemini-cli", "darwin", "home/.gemini/settings.json"),
        ("zed", "linux", "home/.config/zed/settings.json"),
        ("zed", "darwin", "home/.config/zed/settings.json"),
        ("zed", "win32", "settings/Zed/settings.json"),
        ("opencode", "win32", "home/.config/opencode/opencode.json"),
    ],
)
def test_each_host_has_its_file(tmp_path: Path, host: str, system: str, file: str) -> None:
    assert HOSTS[host].file(folders(tmp_path, system)) == tmp_path / file


def test_variables_move_the_files(tmp_path: Path) -> None:
    moved = folders(tmp_path, "linux", CODEX_HOME="/codex", XDG_CONFIG_HOME="/config")
    assert HOSTS["codex"].file(moved) == Path("/codex/config.toml")
    assert HOSTS["zed"].file(moved) == Path("/config/zed/settings.json")
    assert HOSTS["opencode"].file(moved) == Path("/config/opencode/opencode.json")


def test_a_file_with_comments_of_opencode_is_used_if_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "home/.config/opencode/opencode.jsonc"
    file.parent.mkdir(parents=True)
    file.touch()
    assert HOSTS["opencode"].file(folders(tmp_path, "linux")) == file


def test_claude_desktop_of_the_microsoft_store_has_its_own_folder(tmp_path: Path) -> None:
    package = tmp_path / "local" / "Packages" / "Claude_abc"
    package.mkdir(parents=True)
    assert HOSTS["claude-desktop"].file(folders(tmp_path, "win32")) == (
        package / "LocalCache" / "Roaming" / "Claude" / "claude_desktop_config.json"
    )
