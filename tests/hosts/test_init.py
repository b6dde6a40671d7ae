"""What `init` writes is accepted by the programs of the hosts that the package registries have."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Node


DEADLINE_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user with a home folder and a project, and with the hosts' programs."""

    home: Path
    programs: str

    @property
    def project(self) -> Path:
        """The folder of the project, which the hosts trust."""
        return self.home / "project"

    def run(self, *command: str, with_programs: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; only some commands find the hosts' programs."""
        path = self.programs if with_programs else str(self.home / "nothing")
        program = shutil.which(command[0], path=path) or command[0]
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.project,
            env=self._environment(path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def init(self, host: str, *options: str, with_programs: bool) -> None:
        """Run `init` for a host, as a user would."""
        ours = [sys.executable, "-m", "vllm_image_mcp", "init", host, "--demo", "--yes", *options]
        done = self.run(*ours, with_programs=with_programs)
        assert done.returncode == 0, done.stdout + done.stderr

    def _environment(self, path: str) -> Mapping[str, str]:
        home = str(self.home)
        folders = {"XDG_CONFIG_HOME": f"{home}/.config", "XDG_DATA_HOME": f"{home}/.local/share"}
        quiet = {"DISABLE_AUTOUPDATER": "1", "MCP_TIMEOUT": "60000", "MCP_CONNECT_TIMEOUT_MS": "60000"}
        closed = "http://127.0.0.1:9"  # the port of "discard", where nobody listens
        proxies = {"HTTP_PROXY": closed, "HTTPS_PROXY": closed, "NO_PROXY": "127.0.0.1,localhost"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_IMAGE_")}
        return {**kept, **folders, **quiet, **proxies, "HOME": home, "USERPROFILE": home, "PATH": path}


@pytest.fixture
def user(node: "Node", claude: Path, tmp_path: Path) -> User:
    modules = node.packages / "node_modules"
    bins = [claude.parent, node.program.parent, modules / ".bin", *modules.glob("opencode-*/bin")]
    programs = [*map(str, bins), os.environ["PATH"]]
    made = User(home=tmp_path, programs=os.pathsep.join(programs))
    made.project.mkdir()
    trusted = tmp_path / ".gemini" / "trustedFolders.json"
    trusted.parent.mkdir()
    trusted.write_text(json.dumps({str(made.project): "TRUST_FOLDER"}), "utf-8")
    return made


CHECKS: Mapping[str, Sequence[str]] = {
    "claude-code": ("claude", "mcp", "list"),
    "codex": ("codex", "mcp", "get", "vllm-image"),
    "gemini-cli": ("gemini", "mcp", "list"),
    "opencode": ("opencode", "mcp", "list"),
}
ACCEPTED = {
    "claude-code": "Connected",
    "codex": "enabled: true",
    "gemini-cli": "(stdio)",  # it gives a server five seconds to connect, which a busy machine may not have
    "opencode": "connected",
}


@pytest.mark.parametrize("with_programs", [True, False], ids=["by the host", "by its file"])
@pytest.mark.parametrize("host", CHECKS)
def test_a_host_accepts_what_init_writes(user: User, host: str, *, with_programs: bool) -> None:
    if host == "opencode" and shutil.which("opencode", path=user.programs) is None:
        pytest.skip("opencode is only installed on Linux with an x64 processor")
    user.init(host, "--output-dir", str(user.home / "images"), with_programs=with_programs)

    listed = user.run(*CHECKS[host])

    assert listed.returncode == 0, listed.stderr
    assert "vllm-image" in listed.stdout + listed.stderr
    accepted = "approval" if (host, with_programs) == ("claude-code", False) else ACCEPTED[host]
    assert accepted in listed.stdout + listed.stderr


@pytest.mark.parametrize("host", CHECKS)
def test_a_second_run_changes_the_entry(user: User, host: str) -> None:
    user.init(host, "--max-wait", "30", with_programs=True)
    user.init(host, "--max-wait", "31", with_programs=True)

    listed = user.run(*CHECKS[host])

    assert "--max-wait 31" in listed.stdout + listed.stderr
    assert "--max-wait 30" not in listed.stdout + listed.stderr
