"""Where the value of a setting comes from, and the settings file."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from vllm_image_mcp.known_folders import application_settings_folder
from vllm_image_mcp.setting_sources import GivenValue, collect, default_file

NAMES = {
    "timeout": ["T"],
    "vllm_url": ["VLLM_URL", "URL"],
    "api_key": ["KEY"],
    "api_key_file": ["KEY_FILE"],
    "config": ["CONFIG"],
}


def values(given: Mapping[str, GivenValue]) -> dict[str, object]:
    return {name: each.value for name, each in given.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_the_more_specific_source_counts(file: Path) -> None:
    file.write_text('timeout = 1\nvllm_url = "http://file"', "utf-8")
    environment = {"CONFIG": str(file), "t": "2", "URL": ""}

    assert values(collect(NAMES, {}, environment))["timeout"] == "2"
    assert collect(NAMES, {"timeout": "3"}, environment) == {
        "timeout": GivenValue("3", "--timeout"),
        "vllm_url": GivenValue("http://file", str(file), in_file=True),
        "config": GivenValue(str(file), "CONFIG"),
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_settings_file_may_be_written_by_powershell(file: Path, encoding: str) -> None:
    file.write_text("timeout = 1\n", encoding, newline="\r\n")
    assert values(collect(NAMES, {"config": str(file)}, {}))["timeout"] == 1


def test_of_a_key_and_a_key_file_the_more_specific_source_counts() -> None:
    assert values(collect(NAMES, {"api_key_file": "k"}, {"KEY": "sesame"})) == {"api_key_file": "k"}
    assert values(collect(NAMES, {"api_key": "sesame"}, {"KEY_FILE": "k"})) == {"api_key": "sesame"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("timeout = ,", "is not valid TOML: .* line 1"),
        ("time_limit = 1", "'time_limit' is not a setting. Use: timeout, vllm_url"),
        ('config = "other.toml"', "'config' is not a setting"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_refused_by_name(
    file: Path, content: str | None, reason: str
) -> None:
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=reason) as caught:
        collect(NAMES, {"config": str(file)}, {})
    assert str(file) in str(caught.value)


def test_the_usual_place_is_where_programs_keep_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_there(_: object) -> bool:
        return True

    monkeypatch.setattr(os.path, "isfile", is_there)
    usual = default_file(os.environ)
    assert usual == application_settings_folder() / "vllm-image-mcp" / "config.toml"


@pytest.mark.skipif(sys.platform != "linux", reason="the folder differs by system")
def test_the_usual_place_is_read_if_a_file_is_there(tmp_path: Path) -> None:
    there = {"HOME": str(tmp_path)}
    assert default_file(there) is None
    usual = tmp_path / ".config" / "vllm-image-mcp" / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text("timeout = 5", "utf-8")
    assert default_file(there) == usual
    assert values(collect(NAMES, {}, there)) == {"timeout": 5}
    assert default_file({**there, "XDG_CONFIG_HOME": str(tmp_path / "elsewhere")}) is None
