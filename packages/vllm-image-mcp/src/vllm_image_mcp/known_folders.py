"""Find the user's known folders on each system: images, home, and where programs keep their settings.

Windows lets users move these folders (OneDrive does), so the system is asked; their names are never guessed.
"""

from pathlib import Path

import platformdirs


def pictures_folder() -> Path:
    """Return the user's Pictures folder: FOLDERID_Pictures, ``~/Pictures``, or the XDG one."""
    return platformdirs.user_pictures_path()


def application_settings_folder() -> Path:
    """Return where programs keep a user's settings.

    That is ``%APPDATA%`` on Windows, ``~/Library/Application Support`` on a Mac, and elsewhere
    ``$XDG_CONFIG_HOME`` or ``~/.config``.
    """
    return platformdirs.user_config_path(roaming=True)


def local_data_folder() -> Path:
    """Return where programs keep a user's data that stays on this machine.

    That is ``%LOCALAPPDATA%`` on Windows, ``~/Library/Application Support`` on a Mac, and elsewhere
    ``$XDG_DATA_HOME`` or ``~/.local/share``.
    """
    return platformdirs.user_data_path()


def home_folder() -> Path | None:
    """Return the user's home folder; None if the system does not know it."""
    try:
        return Path.home()
    except RuntimeError:
        return None
