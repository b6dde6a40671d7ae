"""What the system would refuse or change in a folder's path is reported before any work."""

import errno
import sys
from contextlib import nullcontext
from pathlib import Path, WindowsPath
from types import ModuleType
from typing import cast

import pytest
from vllm_image_core.errors import CannotSave
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.folder_paths import (
    VERBATIM,
    _long_paths_are_enabled,
    check_file_path,
    check_folder_path,
)
from vllm_image_core.storage.index_tables import INDEX
from vllm_image_core.storage.store import Store, _cannot_save


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Windows without long paths, emulated on other systems."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("vllm_image_core.storage.folder_paths._long_paths_are_enabled", lambda: False)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("pics.", "'pics.' ends with a dot or a space"),
        ("foxes /made", "'foxes ' ends with a dot or a space"),
        ("con", "'con' is reserved by Windows"),
        ("made/NUL.images", "'NUL.images' is reserved by Windows"),
        ("what?", "'what?' contains one of"),
        ("a|b/c", "'a|b' contains one of"),
    ],
)
def test_a_name_that_windows_would_change_or_refuse_is_refused(folder: str, why: str) -> None:
    with pytest.raises(CannotSave) as caught:
        check_folder_path(Path(folder))
    assert why in caught.value.message
    assert caught.value.next_step == "Choose another output folder."


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ("Q:/pics", "The drive Q:"),
        ("//nas/x/pics", "The network folder //nas/x"),
        ("\\\\?\\Q:\\pics", "The drive //?/Q:"),
        ("\\\\?\\UNC\\nas\\x\\pics", "The network folder //?/UNC/nas/x"),
    ],
)
def test_a_missing_drive_has_an_error_of_its_own(missing: str, name: str) -> None:
    with pytest.raises(CannotSave, match="is not there") as caught:
        check_folder_path(Path(missing))
    assert name in caught.value.message.replace("\\", "/")
    assert caught.value.next_step == "Connect it, or choose another output folder."
    with pytest.raises(CannotSave, match="is not there"):
        Store(Path(missing)).check_writable()


@pytest.mark.parametrize("folder", ["/Volumes/Foxes/pics", "/volumes/Foxes", "/Volumes/x/../Foxes/a/b"])
def test_on_a_mac_a_missing_drive_has_that_error_too(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")  # emulated
    with pytest.raises(CannotSave, match=r"The drive /[Vv]olumes/Foxes is not there") as caught:
        Store(Path(folder)).check_writable()
    assert caught.value.next_step == "Connect it, or choose another output folder."


def test_on_a_mac_any_other_folder_is_on_an_existing_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")  # emulated
    for folder in (tmp_path / "Volumes" / "Foxes", Path("/Volumes"), Path("Volumes/Foxes"), Path("a" * 300)):
        check_folder_path(folder)


@pytest.mark.usefixtures("windows")
def test_a_path_that_leaves_no_room_for_file_names_is_refused_before_anything_is_created(
    tmp_path: Path,
) -> None:
    fits = tmp_path / ("a" * (166 - len(str(tmp_path))))  # 167 characters with the separator
    check_folder_path(fits)
    with pytest.raises(CannotSave, match="has 169 characters") as caught:
        Store(Path(f"{fits}bb")).check_writable()
    assert "at most 167 characters" in caught.value.next_step
    assert "LongPathsEnabled" in caught.value.next_step
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("windows")
def test_a_filename_that_makes_a_path_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    room = 242 - len(f"{tmp_path}/hero/")
    store = Store(tmp_path)
    store.check_subfolder("hero/" + "a" * min(room, 100))
    (deep := tmp_path / ("d" * (room - 60))).mkdir()
    room -= len(deep.name) - len("hero")
    Store(deep).check_subfolder("a" * (room))
    with pytest.raises(CannotSave, match="would have 244 characters without its extension") as caught:
        Store(deep).check_subfolder("a" * (room + 2))
    assert f"at most {room} characters, or let Windows use long paths" in caught.value.next_step


@pytest.mark.usefixtures("windows")
def test_windows_counts_characters_outside_the_basic_plane_as_two(tmp_path: Path) -> None:
    foxes = "🦊" * ((168 - len(str(tmp_path))) // 2)
    with pytest.raises(CannotSave, match=r"has 16[89] characters"):
        check_folder_path(tmp_path / foxes)


@pytest.mark.usefixtures("windows")
def test_a_verbatim_path_may_be_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_image_core.storage.folder_paths.check_drive", Path)  # emulated: it is there
    deep = "\\\\?\\D:\\" + "\\".join(("a" * 200, "b" * 200))
    check_folder_path(Path(deep))
    check_file_path(Path(f"{deep}\\fox"))
    with pytest.raises(CannotSave, match=r"'pics\.' ends with a dot"):
        check_folder_path(Path("\\\\?\\D:\\pics."))


@pytest.mark.skipif(not isinstance(Path(), WindowsPath), reason="only Windows itself has such paths")
def test_images_are_saved_and_found_in_a_verbatim_folder(tmp_path: Path) -> None:
    folder = Path(f"{VERBATIM}{tmp_path}")
    Store(folder).check_writable()
    with Database(folder, INDEX).open() as connection:
        assert connection.execute("SELECT count(*) FROM picture").fetchone() == (0,)
    assert (tmp_path / ".vllm-image" / "index.sqlite3").is_file()


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("folder", ["images", "./images", "../images", "a.b/c d", "console", "com10"])
def test_any_other_path_is_a_folder(folder: str) -> None:
    check_folder_path(Path(folder))


def test_windows_with_long_paths_accepts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("vllm_image_core.storage.folder_paths._long_paths_are_enabled", lambda: True)
    check_folder_path(Path("a" * 300))


@pytest.mark.skipif(sys.platform == "win32", reason="other systems have other names")
def test_other_systems_accept_such_names(tmp_path: Path) -> None:
    Store(tmp_path / "con" / "what? ").check_writable()


class Registry:
    """The module `winreg`, emulated, with one value."""

    HKEY_LOCAL_MACHINE = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def OpenKey(self, *_: object) -> nullcontext[None]:  # noqa: N802 - its name
        return nullcontext()

    def QueryValueEx(self, _: None, name: str) -> tuple[int, int]:  # noqa: N802 - likewise
        assert name == "LongPathsEnabled"
        return self.value, 4


@pytest.mark.parametrize("value", [0, 1])
def test_the_registry_says_whether_paths_may_be_long(monkeypatch: pytest.MonkeyPatch, value: int) -> None:
    monkeypatch.setitem(sys.modules, "winreg", cast("ModuleType", Registry(value)))
    assert _long_paths_are_enabled() is bool(value)


@pytest.mark.usefixtures("windows")
def test_a_drive_that_is_removed_while_an_image_is_generated_is_named() -> None:
    gone = _cannot_save(FileNotFoundError(errno.ENOENT, "The system cannot find the path"), Path("Q:/pics"))
    assert gone.message.startswith("The drive Q:")
