"""The layers of an image, each in its own file."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edit_server import Server, png
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.studio import Studio
from vllm_omni_client.models import ImageGenerationReply

LAYERED = "Qwen/Qwen-Image-Layered"
NOON = datetime(2026, 2, 18, 14, 30, 22, tzinfo=UTC)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def studio(server: Server, tmp_path: Path) -> Studio:
    return Studio(server, output_dir=tmp_path / "out", now=lambda: NOON, draw_seed=lambda: 42)


async def test_every_layer_is_saved_next_to_the_first(tmp_path: Path) -> None:
    studio = Studio(Server(model=LAYERED, pictures=3), output_dir=tmp_path, draw_seed=lambda: 42)
    image = await studio.edit("a fox before a house", png(), layers=3, seed=1, filename="fox")

    assert [path.name for path in (image.path, *image.layers)] == [
        "fox.png",
        "fox_layer2.png",
        "fox_layer3.png",
    ]
    assert len({path.read_bytes() for path in (image.path, *image.layers)}) == 3
    facts = json.loads(read_text(image.layers[1].read_bytes())["vllm-image"])
    assert (facts["layer"], facts["layers"], "key" in facts) == (3, 3, False)
    assert not any("instead of" in note for note in image.notes)

    again = await studio.edit("a fox before a house", png(), layers=3, seed=1)
    assert (again.reused, again.path, again.layers) == (True, image.path, image.layers)


async def test_missing_layers_are_reported_and_a_broken_one_does_not_affect_the_others(
    tmp_path: Path,
) -> None:
    class Broken(Server):
        def _reply(self, size: str | None, seed: int | None) -> ImageGenerationReply:
            whole = super()._reply(size, seed)
            second = whole.data[1].model_copy(update={"bytes": b"nothing"})
            return whole.model_copy(update={"data": (whole.data[0], second, whole.data[2])})

    studio = Studio(Broken(model=LAYERED, pictures=3), output_dir=tmp_path)
    image = await studio.edit("a fox", png(), layers=4, filename="fox")
    assert [path.name for path in image.layers] == ["fox_layer3.png"]
    assert any(note.startswith("Layer 2 was not saved: Expected a PNG") for note in image.notes)
    assert "The server sent 3 layers instead of 4." in image.notes
