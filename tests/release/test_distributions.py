"""The wheels and source distributions of a release: complete, reproducible, and nothing else in them."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("vllm-omni-client", "vllm-image-core", "vllm-image-mcp")
DEADLINE_SECONDS = 600.0


def wheel(dist: Path, package: str) -> Path:
    [found] = (dist / package).glob("*.whl")
    return found


def metadata(file: Path) -> Message:
    with ZipFile(file) as opened:
        [name] = [each for each in opened.namelist() if each.endswith(".dist-info/METADATA")]
        return message_from_bytes(opened.read(name))


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_has_the_files_of_the_package_and_no_others(dist: Path, package: str) -> None:
    source = ROOT / "packages" / package / "src"
    files = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    file = wheel(dist, package)
    info = f"{'-'.join(file.stem.split('-')[:2])}.dist-info"
    entry_points = {f"{info}/entry_points.txt"} if package != "vllm-image-core" else set[str]()
    with ZipFile(file) as opened:
        names = {name for name in opened.namelist() if not name.endswith("/")}
    assert names == {
        *files,
        *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")),
        *entry_points,
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_two_builds_are_identical(dist: Path, dist_again: Path, package: str) -> None:
    def hashes(folder: Path) -> dict[str, str]:
        files = sorted((folder / package).iterdir())
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    assert len(hashes(dist)) == 2
    assert hashes(dist) == hashes(dist_again)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_metadata_is_complete(dist: Path, package: str) -> None:
    [source] = (dist / package).glob("*.tar.gz")
    assert "Final rating: 10/10" in run("pyroma", str(source))
    run("twine", "check", "--strict", str(source), str(wheel(dist, package)))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_component_list_has_everything_that_the_wheel_needs(
    dist: Path, package: str, tmp_path: Path
) -> None:
    [command] = re.findall(
        r"uv (export .*) --output-file", (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    )
    words = shlex.split(command.replace("$package", package))
    subprocess.run(
        ["uv", *words, f"--output-file={tmp_path / 'list.json'}"],  # noqa: S607 - nox has it
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    listed = json.loads((tmp_path / "list.json").read_text("utf-8"))
    assert (listed["bomFormat"], listed["metadata"]["component"]["name"]) == ("CycloneDX", package)
    needed = [Requirement(str(each)) for each in metadata(wheel(dist, package)).get_all("Requires-Dist", [])]
    names = {each["name"] for each in listed["components"]}
    assert {each.name for each in needed if "extra" not in str(each.marker)} <= names
    assert all(each.get("purl") for each in listed["components"] if each["name"] not in PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_on_the_index_has_every_link(dist: Path, package: str) -> None:
    found = metadata(wheel(dist, package))
    labels = {str(each).partition(",")[0] for each in found.get_all("Project-URL", [])}
    assert labels == {"Homepage", "Documentation", "Changelog", "Issues", "Source"}
    versions = [str(each) for each in found.get_all("Classifier", []) if re.search(r":: 3\.\d+$", str(each))]
    assert versions == [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)]
