"""How a host starts this server: with absolute paths, before and after it is on the package index."""

import json
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from vllm_image_mcp.hosts.launch import Launch, UvNotFound, arguments, program, secrets
from vllm_image_mcp.settings import Settings

EPHEMERAL = "/home/you/.cache/uv/archive-v0/abc"


@pytest.fixture
def uvx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A `uvx` on the path."""
    name = "uvx.exe" if sys.platform == "win32" else "uvx"
    file = tmp_path / "bin" / name
    file.parent.mkdir()
    file.touch(0o755)
    monkeypatch.setenv("PATH", str(file.parent))
    return str(file)


def installed(folder: Path, origin: object | None) -> PathDistribution:
    """A package with its record of where it comes from."""
    if origin is not None:
        (folder / "direct_url.json").write_text(json.dumps(origin), "utf-8")
    return PathDistribution(folder)


def test_an_installed_program_is_started_by_its_absolute_path() -> None:
    [script] = program(None)
    assert Path(script).is_absolute()
    assert Path(script).stem == "vllm-image-mcp"


def test_without_a_script_the_module_is_started(tmp_path: Path) -> None:
    python = str(tmp_path / "python")
    assert program(None, executable=python) == (python, "-P", "-m", "vllm_image_mcp")


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (None, ["vllm-image-mcp"]),
        ({"url": "file:///srv/x.whl", "archive_info": {}}, ["--from", "/srv/x.whl", "vllm-image-mcp"]),
        (
            {"url": "https://e.org/x.whl", "archive_info": {}},
            ["--from", "https://e.org/x.whl", "vllm-image-mcp"],
        ),
        (
            {"url": "https://e.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["--from", "git+https://e.org/x.git@abc", "vllm-image-mcp"],
        ),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX")
def test_whatever_uvx_runs_is_installed_again_from_the_same_source(
    tmp_path: Path, uvx: str, origin: object | None, words: list[str]
) -> None:
    assert program(None, prefix=EPHEMERAL, package=installed(tmp_path, origin)) == (uvx, *words)


def test_a_relative_source_becomes_absolute(
    tmp_path: Path, uvx: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clone").mkdir()
    assert program("clone") == (uvx, "--from", str(tmp_path / "clone"), "vllm-image-mcp")
    assert program("vllm-image-mcp==0.1.0")[2] == "vllm-image-mcp==0.1.0"


def test_without_uvx_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UvNotFound, match="pip install uv"):
        program("vllm-image-mcp==0.1.0")


def test_settings_become_arguments_with_absolute_paths_and_secrets_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    settings = Settings.from_arguments(
        vllm_url="http://a:1,http://b:2",
        output_dir="images",
        allow_dir=("a", "b"),
        api_key="sesame",
        header=("X-Team: blue",),
        demo=True,
        structured_content=False,
        max_wait="30",
        max_concurrent="auto",
    )
    names = [name for name in settings.table() if name in settings.model_fields_set]
    assert list(arguments(settings, names)) == [
        *("--vllm-url", "http://a:1", "--vllm-url", "http://b:2"),
        *("--output-dir", str(tmp_path / "images"), "--demo"),
        *("--allow-dir", str(tmp_path / "a"), "--allow-dir", str(tmp_path / "b")),
        *("--no-structured-content", "--max-wait", "30.0"),
    ]
    assert secrets(settings, names) == {
        "VLLM_IMAGE_API_KEY": "sesame",
        "VLLM_IMAGE_HEADER": "X-Team: blue",
    }


def test_no_secret_is_shown_neither_a_new_one_nor_an_old_one() -> None:
    launch = Launch(command="x", arguments=[], environment={"VLLM_IMAGE_API_KEY": "canary"})
    shown = launch.without_secrets(
        '-e K=canary\n"VLLM_IMAGE_API_KEY": "older"\nVLLM_IMAGE_API_KEY = "oldest"'
    )
    assert (
        shown == '-e K=(not shown)\n"VLLM_IMAGE_API_KEY": "(not shown)"\nVLLM_IMAGE_API_KEY = "(not shown)"'
    )
    assert "canary" not in repr(launch)
