"""Images are saved, found and made once on volumes that answer as those of other systems do (emulated)."""

import io
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from PIL import Image
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.storage.store import Store
from vllm_image_mcp.server import build_server
from vllm_image_mcp.settings import Settings
from vllm_omni_client._imaging.saving import NewFile, write_file
from volumes import VOLUMES, Volume, scanned

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
def test_an_image_is_saved_whole_under_a_free_name_twice_and_nothing_else_is_left(
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


def test_the_client_saves_a_file_once_and_replaces_it_only_when_told(root: Path) -> None:
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
