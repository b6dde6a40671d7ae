"""Images are saved, found and generated once on emulated volumes of other systems."""

import io
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from vllm_image_core.datasets.object_store import ObjectStore
from vllm_image_core.gallery.page import write_gallery
from vllm_image_core.image_folder import ImageFolder
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.style import Style
from vllm_image_core.requests.style_folder import Styles
from vllm_image_core.storage.database import FOLDER
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.store import Store, _listed_name
from vllm_image_core.storage.verdicts import Verdict
from vllm_image_mcp.server import build_server
from vllm_image_mcp.server_key import server_key
from vllm_image_mcp.settings import Settings
from vllm_omni_client._imaging.saving import NewFile, write_file
from volumes import VOLUMES, Volume, case_ignored, decomposed, scanned

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they are emulated on Linux")
NAMES = ["Füchse", "fox", "FOX", "狐", "é" * 50, None]


@pytest.fixture(params=VOLUMES, ids=lambda volume: volume.__name__)
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on such a volume."""
    folder = tmp_path / "volume"
    folder.mkdir()
    request.param(Volume(folder, monkeypatch))
    return folder


@pytest.fixture
def picture() -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "#112233").save(file, "PNG")
    return Picture.check(file.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_saved_completely_under_a_free_name_twice_and_nothing_else_is_left(
    root: Path, picture: Picture, name: str | None
) -> None:
    store, now = Store(root), datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
    store.check_writable()
    paths = [store.save(picture, prompt="a fox", now=now, filename=name) for _ in range(3)]
    assert len(set(paths)) == 3
    stems = [unicodedata.normalize("NFC", path.stem) for path in paths]
    assert stems[1:] == [f"{stems[0]}_2", f"{stems[0]}_3"]
    assert name is None or stems[0] == name
    assert [path.read_bytes() for path in paths] == [picture.bytes] * 3
    assert len(list(root.iterdir())) == 3


def test_the_client_saves_a_file_once_and_replaces_it_only_when_asked_to(root: Path) -> None:
    path = root / "Füchse.png"
    assert write_file(b"first", path, overwrite=False) == path
    with pytest.raises(FileExistsError):
        write_file(b"second", path, overwrite=False)
    assert path.read_bytes() == b"first"
    write_file(b"third", path, overwrite=True)
    assert path.read_bytes() == b"third"
    with NewFile(root / "owl.png") as new:
        new.write(b"half, and never committed")
    assert len(list(root.iterdir())) == 1


async def test_images_are_rated_exported_and_shown_on_such_a_volume(root: Path, picture: Picture) -> None:
    folder = ImageFolder(root, check_space=False)
    for name in ("Füchse", "hero/owl"):
        Store(root).save(picture, prompt="", now=datetime.now(tz=UTC), filename=name)
    names = [image.path.relative_to(root).as_posix() for image in (await folder.find()).pictures]
    assert len(names) == 2
    steps: tuple[tuple[Verdict, int], ...] = (("reject", 2), ("clear", 0))
    for verdict, rejected in steps:
        paths = await folder.rate(names, verdict=verdict, stars=4)
        assert all(path.is_file() for path in paths)
        found = await folder.find(rejected=True)
        assert [image.stars for image in found.pictures] == [4] * rejected
    for overwrite in (False, True):
        copies = await folder.export(names, root / "site", overwrite=overwrite)
        assert [path.read_bytes() for path in copies] == [picture.bytes] * 2
    assert len(list((root / "site").iterdir())) == 2
    for _ in range(2):
        assert write_gallery(root).read_text("utf-8").count('"stars":4') == 2


@pytest.mark.parametrize("root", [case_ignored, decomposed], indirect=True)
async def test_an_image_is_rated_and_exported_by_any_name_that_the_volume_finds_it_by(root: Path) -> None:
    server = build_server(Settings.from_arguments(demo=True, output_dir=root))
    async with Client(server, mode="legacy", read_timeout_seconds=60) as client:
        made = await call(
            client, "generate_image", prompt="a red fox", filename="Füchse", width=64, height=64
        )
    folder, name = ImageFolder(root, check_space=False), Path(made["file_path"]).name
    given = "FüCHSE.PNG" if unicodedata.is_normalized("NFC", name) else "Füchse.png"
    await folder.rate([given], verdict="keep", stars=3)
    [found] = (await folder.find(kept=True)).pictures
    assert (found.path.name, found.stars) == (name, 3)
    assert await folder.rate([given], verdict="reject") == (root / "rejected" / name,)
    await folder.rate([given], verdict="clear")
    [copy] = await folder.export([given], root / "site")
    assert copy.name == name
    [request] = await folder.more_like([given])
    assert request.prompt == "a red fox"


@pytest.mark.parametrize("root", [decomposed], indirect=True)
def test_of_equal_names_on_a_decomposing_volume_ours_is_returned(root: Path) -> None:
    for name in ("FÜCHSE", "füchse", "FÜchse", "füCHSE", "füchSE", "Füchse"):
        (root / f"{name}.png").touch()
    with Folder.open(root) as folder:
        assert _listed_name(folder, "Füchse.png") == unicodedata.normalize("NFD", "Füchse.png")


@pytest.mark.parametrize(
    ("root", "given"),
    [(case_ignored, "FÜCHSE/OWL.PNG"), (decomposed, unicodedata.normalize("NFD", "Füchse/owl.png"))],
    indirect=["root"],
)
async def test_a_subfolder_is_one_folder_however_its_name_is_written(
    root: Path, given: str, picture: Picture
) -> None:
    folder, now = ImageFolder(root, check_space=False), datetime.now(tz=UTC)
    Store(root).save(picture, prompt="", now=now, filename="Füchse/owl")
    Store(root).save(picture, prompt="", now=now, filename=given.replace("OWL", "elk").replace("owl", "elk"))
    names = [image.path.relative_to(root).as_posix() for image in (await folder.find()).pictures]
    assert len(names) == 2
    await folder.rate([given], verdict="keep", stars=2)
    [found] = (await folder.find(kept=True)).pictures
    assert (found.path.stem, found.stars) == ("owl", 2)


async def test_styles_datasets_and_keys_are_written_once_on_such_a_volume(root: Path) -> None:
    styles = Styles(root / "styles")
    file = styles.save(Style(name="dusk", suffix=", at dusk"))
    styles.save(Style(name="dusk", suffix=", at dawn"), overwrite=True)
    assert styles.find("dusk").suffix == ", at dawn"
    assert list(file.parent.iterdir()) == [file]
    styles.remove("dusk")
    assert list(file.parent.iterdir()) == []
    keys = {server_key(root).derive("links") for _ in range(3)}
    assert len(keys) == 1
    (root / FOLDER / "server.key").write_bytes(b"cut off")
    assert server_key(root).derive("links") not in keys
    assert [path.name for path in (root / FOLDER).iterdir()] == ["server.key"]
    store = ObjectStore(root / "dataset")
    assert [await store.create("images/ab/x.png", data) for data in (b"first", b"second")] == [True, False]
    assert await store.read("images/ab/x.png") == b"first"
    await store.replace("images/ab/x.png", b"third")
    assert await store.read("images/ab/x.png") == b"third"
    assert [name async for name in store.names("images")] == ["images/ab/x.png"]
    assert len(list((root / "dataset" / "images" / "ab").iterdir())) == 1


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.parametrize("root", [each for each in VOLUMES if each is not scanned], indirect=True)
async def test_the_tools_work_on_such_a_volume_and_nothing_is_generated_twice(root: Path) -> None:
    server = build_server(Settings.from_arguments(demo=True, output_dir=root))
    small = {"width": 64, "height": 64, "num_inference_steps": 2}
    async with Client(server, mode="legacy", read_timeout_seconds=60) as client:
        made = await call(client, "generate_image", prompt="a red fox", seed=7, filename="Füchse", **small)
        assert unicodedata.normalize("NFC", Path(made["file_path"]).name) == "Füchse.png"
        again = await call(client, "generate_image", prompt="a red fox", seed=7, filename="Füchse", **small)
        assert again["reused"] is True
        edited = await call(client, "edit_image", prompt="make it night", images=["Füchse.png"])
        assert Path(edited["file_path"]).is_file()
        batch = await call(client, "batch_generate", prompts=["a hare", "an owl", "an elk"], **small)
        found = await call(client, "find_images", limit=20)
        assert batch["images_generated"] == 3
        assert len({image["file_path"] for image in found["images"]}) == 5, found["images"]
        for image in found["images"]:
            assert Path(image["file_path"]).is_file()
        assert made["file_path"] in [image["file_path"] for image in found["images"]]
    assert len(list(root.glob("*.png"))) == 5
