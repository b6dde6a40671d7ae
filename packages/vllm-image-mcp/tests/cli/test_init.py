"""The command `init`: it shows the change, makes it, and keeps a copy of what was there."""

import errno
import json
import os
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from vllm_image_mcp.hosts import jsonc
from vllm_image_mcp.hosts.host import HOSTS, UserFolders

Run = Callable[..., Result]

pytestmark = pytest.mark.own_key  # a host's file may have the key
FILES = ("claude-desktop", "cursor", "opencode", "vscode", "windsurf", "zed")
URL = "http://gpu:6655"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder, with no host's program on the path."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    for name, inside in (("APPDATA", "AppData"), ("LOCALAPPDATA", "Local"), ("XDG_CONFIG_HOME", ".config")):
        monkeypatch.setenv(name, str(folder / inside))
    monkeypatch.delenv("CODEX_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    return folder


def file_of(host: str) -> Path:
    return HOSTS[host].file(UserFolders.of_this_user(os.environ))


def entry_in(host: str, name: str = "vllm-image") -> Any:  # noqa: ANN401 - as the file has it
    text = file_of(host).read_text("utf-8")
    found: Any = tomllib.loads(text) if host == "codex" else jsonc.parse(text)
    for key in (*HOSTS[host].keys, name):
        found = found[key]
    return found


def command_of(entry: Any) -> list[str]:  # noqa: ANN401 - of any host
    return entry["command"] if isinstance(entry["command"], list) else [entry["command"], *entry["args"]]


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_each_host_gets_an_entry_with_absolute_paths(run: Run, host: str) -> None:
    result = run("init", host, "--vllm-url", URL, "--output-dir", "images", "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    command, *words = command_of(entry_in(host))
    assert Path(command).is_absolute()
    assert words[words.index("--vllm-url") + 1] == URL
    assert Path(words[words.index("--output-dir") + 1]) == Path.cwd() / "images"
    assert ("--no-structured-content" in words) == (host in {"codex", "opencode"})
    assert HOSTS[host].then in result.stdout


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_a_host_that_starts_servers_anywhere_gets_a_folder_for_images(run: Run, host: str) -> None:
    run("init", host, "--yes")
    words = command_of(entry_in(host))
    assert ("--output-dir" in words) != HOSTS[host].runs_in_project
    assert all(Path(words[at + 1]).is_absolute() for at, word in enumerate(words) if word == "--output-dir")


def test_the_change_is_shown_before_it_is_made_and_a_copy_is_kept(run: Run) -> None:
    file = file_of("zed")
    file.parent.mkdir(parents=True)
    before = '{\n  // my theme\n  "theme": "dark",\n}\n'
    file.write_text(before, "utf-8")
    file.chmod(0o640)

    result = run("init", "zed", "--yes")

    after = file.read_text("utf-8")
    assert "// my theme" in after
    assert '+  "context_servers": {' in result.stdout
    assert result.stdout.index('"context_servers"') < result.stdout.index("was changed")
    [copy] = file.parent.glob("*.bak")
    assert copy.read_text("utf-8") == before
    assert sorted(file.parent.iterdir()) == sorted([file, copy])
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_that_a_scanner_holds_for_a_moment_is_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, tries = os.replace, iter(range(100))

    def scanned(old: Path, new: Path) -> None:
        if next(tries) < 3:  # emulated: Windows replaces no file that is open
            raise PermissionError(errno.EACCES, "it is being used by another process", str(old))
        replace(old, new)

    monkeypatch.setattr(os, "replace", scanned)
    assert run("init", "cursor", "--yes").exit_code == 0
    assert "vllm-image-mcp" in " ".join(command_of(entry_in("cursor")))


def test_a_file_with_a_byte_order_mark_is_changed(run: Run) -> None:
    file = file_of("cursor")
    file.parent.mkdir(parents=True)
    file.write_text('{"mcpServers": {"other": {"command": "npx"}}}', "utf-8-sig")  # as PowerShell writes it
    assert run("init", "cursor", "--yes").exit_code == 0
    assert sorted(json.loads(file.read_bytes())["mcpServers"]) == ["other", "vllm-image"]


def test_toml_keeps_its_comments_and_its_other_servers(run: Run) -> None:
    file = file_of("codex")
    file.parent.mkdir(parents=True)
    file.write_text('# mine\nmodel = "o3" # best\n\n[mcp_servers.other]\ncommand = "npx"\n', "utf-8")

    run("init", "codex", "--vllm-url", URL, "--api-key", "sesame", "--yes")

    text = file.read_text("utf-8")
    assert text.startswith('# mine\nmodel = "o3" # best\n\n[mcp_servers.other]\ncommand = "npx"\n')
    assert entry_in("codex")["env"] == {"VLLM_IMAGE_API_KEY": "sesame"}


@pytest.mark.parametrize("host", ["codex", "cursor"])
def test_the_same_command_again_changes_nothing(run: Run, host: str) -> None:
    run("init", host, "--vllm-url", URL, "--yes")
    before = file_of(host).read_bytes()
    result = run("init", host, "--vllm-url", URL, "--yes")
    assert "already has this configuration" in result.stdout
    assert file_of(host).read_bytes() == before
    assert list(file_of(host).parent.glob("*.bak")) == []


@pytest.mark.parametrize("host", ["codex", "cursor"])
def test_new_settings_replace_only_older_ones_of_the_same_name(run: Run, host: str) -> None:
    run("init", host, "--vllm-url", URL, "--yes")
    run("init", host, "--name", "second", "--vllm-url", "http://b:1", "--yes")
    run("init", host, "--vllm-url", "http://a:1", "--yes")
    assert "http://a:1" in command_of(entry_in(host))
    assert "http://b:1" in command_of(entry_in(host, "second"))


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_nothing_is_changed_without_consent(run: Run, host: str) -> None:
    result = run("init", host)
    assert result.exit_code == 1
    assert "Nothing was changed. Pass --yes" in result.stderr
    assert not file_of(host).exists()


@pytest.mark.parametrize("host", sorted(HOSTS))
def test_print_shows_what_the_file_would_have_and_changes_nothing(run: Run, host: str) -> None:
    result = run("init", host, "--vllm-url", URL, "--print")
    assert not file_of(host).exists()
    assert result.stderr == f"{file_of(host)}:\n"
    printed = tomllib.loads(result.stdout) if host == "codex" else json.loads(result.stdout)
    run("init", host, "--vllm-url", URL, "--yes")
    assert printed[HOSTS[host].keys[0]]["vllm-image"] == entry_in(host)


def test_settings_of_the_environment_are_passed_on_and_the_key_is_not_shown(run: Run) -> None:
    env = {"VLLM_IMAGE_URL": URL, "VLLM_IMAGE_API_KEY": "canary"}
    result = run("init", "cursor", "--yes", env=env)
    assert URL in command_of(entry_in("cursor"))
    assert entry_in("cursor")["env"] == {"VLLM_IMAGE_API_KEY": "canary"}
    assert "canary" not in result.output
    changed = run("init", "cursor", "--yes", env={**env, "VLLM_IMAGE_API_KEY": "canary2"})
    assert "canary" not in changed.output
    assert "canary" not in run("init", "cursor", "--print", env=env).output


def test_the_content_of_the_settings_file_stays_there(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'vllm_url = "{URL}"', "utf-8")
    run("init", "cursor", "--config", "settings.toml", "--yes")
    words = command_of(entry_in("cursor"))
    assert words[words.index("--config") + 1] == str(file)
    assert URL not in words


def test_a_file_that_is_not_json_is_left_alone(run: Run) -> None:
    file = file_of("cursor")
    file.parent.mkdir(parents=True)
    file.write_text("{ broken", "utf-8")
    result = run("init", "cursor", "--yes")
    assert result.exit_code == 1
    assert f"{file} cannot be changed:" in result.stderr
    assert file.read_text("utf-8") == "{ broken"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_file_that_is_a_link_stays_one(run: Run, tmp_path: Path) -> None:
    real, file = tmp_path / "dotfiles.json", file_of("cursor")
    real.write_text("{}\n", "utf-8")
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    run("init", "cursor", "--yes")
    assert file.is_symlink()
    assert "mcpServers" in real.read_text("utf-8")


@pytest.fixture
def host_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Make a program of a host that runs a script, and writes down its arguments, one call on a line."""

    def make(name: str, script: str = "") -> Path:
        log = tmp_path / "calls.jsonl"
        file = tmp_path / "programs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"calls = open({str(log)!r}, 'a+')\n"
            "calls.seek(0)\nearlier = [json.loads(line) for line in calls]\n"
            "calls.write(json.dumps(sys.argv[1:]) + '\\n')\n"
            f"{script}\n",
            "utf-8",
        )
        file.chmod(0o755)
        return log

    return make


def calls_in(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="a script with a shebang")
@pytest.mark.parametrize(
    ("host", "program"),
    [("claude-code", "claude"), ("codex", "codex"), ("gemini-cli", "gemini"), ("vscode", "code")],
)
def test_the_command_of_the_host_is_used_if_there_is_one(
    run: Run, host_program: Callable[..., Path], host: str, program: str
) -> None:
    log = host_program(program, "print('Added.')")
    result = run("init", host, "--vllm-url", URL, "--api-key", "canary", "--yes")
    assert result.exit_code == 0
    assert "Added." in result.stdout
    assert "canary" not in result.output
    [call] = calls_in(log)
    assert not file_of(host).exists()
    if host == "vscode":
        added = json.loads(call[1])
        assert (call[0], added.pop("name"), added["env"]) == (
            "--add-mcp",
            "vllm-image",
            {"VLLM_IMAGE_API_KEY": "canary"},
        )
    else:
        assert call[:2] == ["mcp", "add"]
        assert "vllm-image" in call
        assert "VLLM_IMAGE_API_KEY=canary" in call
        assert call[call.index("--vllm-url") + 1] == URL


@pytest.mark.skipif(sys.platform == "win32", reason="a script with a shebang")
def test_an_older_entry_is_removed_if_the_host_does_not_replace_it(
    run: Run, host_program: Callable[..., Path]
) -> None:
    log = host_program(
        "claude",
        "if not any('remove' in call for call in earlier) and 'add' in sys.argv:\n"
        "    sys.exit('MCP server vllm-image already exists in user config')",
    )
    assert run("init", "claude-code", "--demo", "--yes").exit_code == 0
    assert [call[1] for call in calls_in(log)] == ["add", "remove", "add"]


@pytest.mark.skipif(sys.platform == "win32", reason="a script with a shebang")
def test_what_the_command_of_a_host_says_is_reported_if_it_fails(
    run: Run, host_program: Callable[..., Path]
) -> None:
    host_program("codex", "sys.exit('no such option')")
    result = run("init", "codex", "--yes")
    assert result.exit_code == 1
    assert "codex failed: no such option" in result.stderr


def test_json_says_what_was_changed_and_never_asks(run: Run) -> None:
    refused = run("init", "cursor", "--json")
    assert (refused.exit_code, "pass --yes" in refused.stderr) == (2, True)
    first, second = (json.loads(run("init", "cursor", "--json", "--yes").stdout) for _ in range(2))
    assert (first["host"], first["changed"], second["changed"]) == ("cursor", True, False)
    assert "vllm-image" in Path(first["file"]).read_text("utf-8")
