"""Known folders: what platformdirs asks the system for, and a machine without a home folder."""

import sys
from pathlib import Path

import pytest
from vllm_image_mcp import known_folders

# platformdirs' own way to set a folder on Windows, and the environment's elsewhere.
VARIABLES = {
    "win32": ("WIN_PD_OVERRIDE_MYPICTURES", "WIN_PD_OVERRIDE_APPDATA", "WIN_PD_OVERRIDE_LOCAL_APPDATA"),
    "linux": ("XDG_PICTURES_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
}


@pytest.mark.skipif(sys.platform not in VARIABLES, reason="a Mac's folders cannot be moved")
def test_the_folders_are_where_the_user_moved_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, variable in enumerate(VARIABLES[sys.platform]):
        monkeypatch.setenv(variable, str(tmp_path / str(number)))
    assert known_folders.pictures_folder() == tmp_path / "0"
    assert known_folders.application_settings_folder() == tmp_path / "1"
    assert known_folders.local_data_folder() == tmp_path / "2"


@pytest.mark.skipif(sys.platform != "darwin", reason="a Mac's folders")
def test_the_folders_of_a_mac() -> None:
    home = known_folders.home_folder()
    assert home is not None
    assert known_folders.pictures_folder() == home / "Pictures"
    assert known_folders.application_settings_folder() == home / "Library" / "Application Support"
    assert known_folders.local_data_folder() == home / "Library" / "Application Support"


def test_a_user_without_a_home_folder_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert known_folders.home_folder() is None
