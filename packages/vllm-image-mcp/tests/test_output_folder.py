import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from mcp import Client
from vllm_image_core.errors import CannotSave
from vllm_image_mcp.cli import main
from vllm_image_mcp.output_folder import OutputFolder, folder_without_terminal, refusal_of, usable_folder
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from conftest import OmniServer


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's Images folder."""
    folder = tmp_path / "home" / "Pictures"
    monkeypatch.setattr("vllm_image_mcp.output_folder.pictures_folder", lambda: folder)
    return folder


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder in which nothing can be created, even by root: a file is in the way."""
    folder.mkdir()
    (folder / "generated_images").write_text("in the way")
    monkeypatch.chdir(folder)


def test_a_relative_folder_is_below_the_working_folder(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usable_folder(Path("generated_images")) == OutputFolder(tmp_path / "generated_images")
    assert not pictures.exists()


def test_a_folder_is_not_created_before_there_is_an_image(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert usable_folder(Path("deep/er/images")) == OutputFolder(tmp_path / "deep/er/images")
    assert list(tmp_path.iterdir()) == []


def test_if_the_working_folder_is_not_writable_the_pictures_folder_is_used_and_reported(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    note = (
        f"Images are saved in {pictures / 'generated_images'}, "
        f"because {tmp_path / 'work' / 'generated_images'} cannot be written."
    )
    with caplog.at_level(logging.WARNING):
        folder = usable_folder(Path("generated_images"))
    assert folder == OutputFolder(pictures / "generated_images", note)
    assert [record.message.startswith(note) for record in caplog.records] == [True]


def test_if_neither_is_writable_the_requested_folder_stays(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    pictures.parent.mkdir()
    pictures.write_text("in the way")
    assert usable_folder(Path("generated_images")) == OutputFolder(tmp_path / "work" / "generated_images")
    assert caplog.records == []


def test_an_absolute_folder_is_used_whether_it_is_writable_or_not(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert usable_folder(tmp_path / "file") == OutputFolder(tmp_path / "file")
    assert not pictures.exists()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert usable_folder(Path("~/foxes")) == OutputFolder(tmp_path / "foxes")


def test_a_folder_that_a_person_named_is_kept_even_if_it_is_not_writable(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    folder = usable_folder(Path("generated_images"), or_elsewhere=False)
    assert folder == OutputFolder(tmp_path / "work" / "generated_images")
    assert not pictures.exists()


def test_a_server_without_a_terminal_saves_in_the_pictures_folder(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = State(Settings(), wired=True, in_background=True)
    assert state.folder == OutputFolder(pictures / "vllm-image")
    named = State(Settings.from_arguments(output_dir=Path("foxes")), wired=True, in_background=True)
    assert named.folder == OutputFolder(tmp_path / "foxes")
    assert State(Settings(), wired=True).folder == OutputFolder(tmp_path / "generated_images")


def test_a_server_without_a_terminal_and_a_pictures_folder_saves_in_the_working_folder(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    pictures.parent.mkdir()
    pictures.write_text("in the way")
    here = OutputFolder(tmp_path / "work" / "generated_images")
    assert folder_without_terminal(Path("generated_images")) == here

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("vllm_image_mcp.output_folder.pictures_folder", no_home)
    assert folder_without_terminal(Path("generated_images")) == here


def test_a_path_with_a_drive_is_not_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")  # emulated: elsewhere, these are names in a folder
    monkeypatch.chdir(tmp_path)
    missing = Path("Q:/foxes")
    assert usable_folder(missing) == OutputFolder(missing)
    refusal = refusal_of(missing)
    assert refusal is not None
    assert "The drive Q:" in refusal.message
    assert usable_folder(Path("foxes")) == OutputFolder(tmp_path / "foxes")


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="a working folder cannot be removed there")


@needs_posix
def test_if_the_working_folder_was_removed_the_pictures_folder_is_used_and_reported(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove_working_folder(tmp_path / "work", monkeypatch)
    folder = usable_folder(Path("foxes"))
    assert "Nothing was sent" not in caplog.text
    folder.check()
    note = f"Images are saved in {pictures / 'foxes'}, because the working folder no longer exists."
    assert folder == OutputFolder(pictures / "foxes", note)


@needs_posix
@pytest.mark.parametrize("or_elsewhere", [True, False])
def test_a_removed_working_folder_is_reported_if_images_can_go_nowhere_else(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, *, or_elsewhere: bool
) -> None:
    remove_working_folder(tmp_path / "work", monkeypatch)
    pictures.parent.mkdir()
    pictures.write_text("in the way")
    folder = usable_folder(Path("foxes"), or_elsewhere=or_elsewhere)
    assert folder.path.is_absolute()
    with pytest.raises(CannotSave, match="foxes is relative to the working folder") as caught:
        folder.check()
    assert caught.value.next_step.endswith("set an absolute output folder.")


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there a name is text")
def test_a_folder_that_cannot_be_named_in_json_is_refused(tmp_path: Path, pictures: Path) -> None:
    folder = usable_folder(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(CannotSave, match=r"caf\\udce9, is not valid UTF-8"):
        folder.check()


FAULTY = ("a name that is too long", "a file", "below a file", "a link to itself")


def faulty(folder: Path, fault: str) -> Path:
    """A folder that nobody can use, not even root."""
    if fault == "a name that is too long":
        return folder / ("n" * 300)
    if fault == "a link to itself":
        (folder / "loop").symlink_to(folder / "loop")
        return folder / "loop" / "images"
    (folder / "file").write_text("in the way")
    return folder / "file" / ("images" if fault == "below a file" else "")


@needs_posix
@pytest.mark.parametrize("fault", FAULTY)
async def test_every_tool_works_without_the_folder_or_says_what_is_wrong_with_it(
    connect: Callable[..., Client], omni: "OmniServer", tmp_path: Path, fault: str
) -> None:
    folder = faulty(tmp_path, fault)
    async with connect(output_dir=folder) as client:
        for tool in ("server_health", "list_presets", "gpu_status", "get_model_info", "estimate_generation"):
            assert not (await client.call_tool(tool, {})).is_error, tool
        for tool, arguments in {
            "generate_image": {"prompt": "a fox"},
            "batch_generate": {"prompts": ["a fox"]},
            "edit_image": {"prompt": "a fox", "images": ["fox.png"]},
            "list_batches": {},
            "find_images": {},
            "get_batch": {"batch_id": "b-1"},
            "cancel_batch": {"batch_id": "b-1"},
        }.items():
            result = await client.call_tool(tool, arguments)
            text = getattr(result.content[0], "text", "")
            assert result.is_error, tool
            assert str(folder)[:200] in text, tool
            assert not text.startswith("Error executing tool"), tool
        assert await client.list_resources()
    assert omni.requests == []


@needs_posix
async def test_tools_that_need_no_folder_work_if_the_working_folder_was_removed(
    connect: Callable[..., Client],
    omni: "OmniServer",
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures.parent.mkdir()
    pictures.write_text("in the way")
    remove_working_folder(tmp_path / "work", monkeypatch)
    async with connect(output_dir="foxes") as client:
        for tool in ("server_health", "list_presets", "gpu_status", "get_model_info", "estimate_generation"):
            assert not (await client.call_tool(tool, {})).is_error, tool
        result = await client.call_tool("generate_image", {"prompt": "a fox"})
        assert "which no longer exists. Nothing was sent." in getattr(result.content[0], "text", "")
    assert omni.requests == []


@needs_posix
@pytest.mark.parametrize("fault", FAULTY)
@pytest.mark.parametrize(
    "command",
    [("generate", "a fox"), ("batches",), ("resume", "b-1"), ("cancel", "b-1"), ("models", "--profiles")],
)
def test_every_command_says_what_is_wrong_with_a_folder(
    tmp_path: Path, fault: str, command: tuple[str, ...]
) -> None:
    folder = str(faulty(tmp_path, fault))
    at = (folder,) if command[-1] == "--profiles" else ("--output-dir", folder, "--demo")
    result = CliRunner().invoke(main, [*command, *at])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert folder[:200] in result.stderr


@needs_posix
def test_a_folder_named_at_a_shell_is_used_or_an_error(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only(tmp_path / "work", monkeypatch)
    small = ["generate", "a fox", "--demo", "--width", "64", "--height", "64"]
    named = CliRunner().invoke(main, [*small, "--output-dir", "generated_images"])
    assert (named.exit_code, named.stdout) == (1, "")
    assert "generated_images: File exists" in named.stderr
    assert not pictures.exists()
    unnamed = CliRunner().invoke(main, small)
    assert unnamed.exit_code == 0
    assert len(list((pictures / "generated_images").glob("*.png"))) == 1


def remove_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that no longer exists."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
