"""Where images may be exported to: allowed folders and those below, however a path spells it."""

from pathlib import Path

import pytest
from vllm_image_core.errors import InvalidRequest
from vllm_image_mcp.export_folders import ExportFolders
from vllm_image_mcp.input_folders import InputFolders


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def folders(tmp_path: Path, project: Path) -> ExportFolders:
    return ExportFolders(InputFolders(tmp_path / "out", [project]))


def test_an_allowed_folder_and_those_below_need_no_question(folders: ExportFolders, project: Path) -> None:
    for given, folder in {
        str(project): project,
        str(project / "site" / "img"): project / "site" / "img",
        "site/img": project / "site" / "img",
        project.as_uri(): project,
    }.items():
        assert folders.outside(given) is None
        assert folders.check(given) == folder.resolve()


def test_a_link_does_not_lead_out_of_an_allowed_folder(
    folders: ExportFolders, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (project / "link").symlink_to(tmp_path / "private")
    assert folders.outside(str(project / "link")) == (tmp_path / "private").resolve()
    with pytest.raises(InvalidRequest, match="it is not an allowed folder"):
        folders.check(str(project / "link"))


@pytest.mark.parametrize("given", ["../elsewhere", "https://example.com/x", "", 7, None, "a\0b"])
def test_what_is_not_a_path_is_refused_without_a_question(folders: ExportFolders, given: object) -> None:
    assert folders.outside(given) is None
    with pytest.raises(InvalidRequest, match="it is not the path of a folder"):
        folders.check(given)


def test_an_answer_applies_to_one_folder(folders: ExportFolders, tmp_path: Path) -> None:
    yes, no = tmp_path.resolve() / "yes", tmp_path.resolve() / "no"
    folders.remember(yes, agreed=True)
    folders.remember(no, agreed=False)
    assert folders.check(str(yes)) == yes
    assert folders.outside(str(yes / "below")) == yes / "below"
    assert folders.outside(str(no)) is None
    with pytest.raises(InvalidRequest, match="the user declined"):
        folders.check(str(no))


def test_without_an_allowed_folder_a_relative_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"it is not an absolute path. Allowed: folders that the user"):
        ExportFolders(InputFolders(tmp_path)).check("site")
