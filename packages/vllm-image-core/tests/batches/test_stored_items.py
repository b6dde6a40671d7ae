"""Requests and outcomes as the journal stores them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_edits import edit
from vllm_image_core.batches.items import Done
from vllm_image_core.batches.stored_items import ItemState, request_as_json, request_from_json
from vllm_image_core.errors import InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit
from vllm_image_core.storage.input_store import StoredInput, inputs_folder

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60
ZEROS = "0" * 64
HOSTILE = (
    "null",
    "7",
    '"x"',
    "{}",
    "[]",
    '[null, 7, [], {"role": "mask"}]',
    "[" + ", ".join(['{"role": "image"}'] * 10_000) + "]",
    '[{"role": "image", "sha256": "../../../../etc/passwd"}]',
    f'[{{"role": "image", "sha256": "{ZEROS[1:]}"}}]',
    f'[{{"role": "image", "sha256": ["{ZEROS}"], "name": {{"a": 1}}}}]',
    f'[{{"role": ["image"], "sha256": "{ZEROS}"}}]',
    f'[{{"role": "image", "sha256": "{ZEROS}", "name": "../secret\\n.png"}}]',
)


def test_the_numbers_of_states_in_journals_keep_their_meaning() -> None:
    assert {state.name: int(state) for state in ItemState} == {"WAITING": 0, "DONE": 1, "FAILED": 2}


async def test_an_edited_image_is_read_back_with_or_without_its_inputs(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch([edit(strength=0.5)])
            await batch.wait()
        async with batch_server.studio(tmp_path) as studio:
            again = await studio.resume(batch.id)
            [whole] = [outcome async for outcome in again.results()]
            assert isinstance(whole, Done)
            assert isinstance(whole.value.request, ResolvedEdit)
            lines = {line.parameter: line.outcome for line in whole.value.receipt.lines}
            assert lines["strength"] == "dropped"
        for path in inputs_folder(tmp_path).iterdir():
            path.unlink()
        async with batch_server.studio(tmp_path) as studio:
            again = await studio.resume(batch.id)
            [bare] = [outcome async for outcome in again.results()]
    assert isinstance(bare, Done)
    assert (bare.value.path, bare.value.seed, bare.value.request.size) == (
        whole.value.path,
        7,
        whole.value.request.size,
    )
    assert len(batch_server.edits) == 1


@pytest.mark.parametrize("told", HOSTILE)
async def test_a_hostile_edit_in_a_journal_does_nothing_else(
    batch_server: "BatchServer", tmp_path: Path, told: str
) -> None:
    request = request_from_json(f'{{"prompt": "night", "seed": 1, "inputs": {told}}}', tmp_path)
    assert isinstance(request, EditRequest)
    async with batch_server.studio(tmp_path) as studio:
        with pytest.raises(InvalidRequest) as caught:
            await studio.make(request)
    assert caught.value.parameter.startswith("images")
    assert "passwd" not in caught.value.message
    assert caught.value.message.isprintable()
    assert batch_server.sent == []


def test_an_edit_is_recorded_and_read_back_with_all_of_its_values(tmp_path: Path) -> None:
    picture = StoredInput(root=tmp_path, sha256="a" * 64, name="fox.png")
    mask = StoredInput(root=tmp_path, sha256="b" * 64)
    whole = EditRequest(
        prompt="night",
        negative_prompt="stars",
        images=(picture, mask),
        mask=mask,
        reference_image=picture,
        strength=0.5,
        layers=3,
        resolution=640,
        seed=7,
        seed_drawn=True,
        filename="x",
        quality="draft",
        tag="t",
        output_format="webp",
    )
    assert request_from_json(request_as_json(whole), tmp_path) == whole
