"""The input images of a batch's edits are kept until they are made."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_edits import FOX, MASK, OWL, copies, edit, interrupted
from vllm_image_core.batches.items import Done, Failed
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage import input_store
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.input_store import StoredInput, inputs_folder

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


def named(*pictures: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}


async def test_an_image_is_copied_once_completely_and_under_its_hash(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    edits = [edit("a"), edit("b"), edit("c", images=[OWL], mask=MASK)]
    name = await interrupted(batch_server, tmp_path, *edits)
    assert copies(tmp_path) == named(FOX, OWL, MASK)
    with Database(tmp_path, JOURNAL).open() as connection:
        (told,) = connection.execute("SELECT request FROM item WHERE position = 2").fetchone()
    assert json.loads(told)["inputs"] == [
        {"role": "image", "sha256": hashlib.sha256(OWL).hexdigest()},
        {"role": "mask", "sha256": hashlib.sha256(MASK).hexdigest()},
    ]
    assert name.startswith("batch_")


async def test_a_copy_that_does_not_match_its_name_is_written_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = named(FOX)
    inputs_folder(tmp_path).mkdir(parents=True)
    (inputs_folder(tmp_path) / name).write_bytes(FOX[:-1])
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await (await studio.batch([edit()])).wait()
    assert copies(tmp_path) == named(FOX)
    assert batch_server.edits[0][1]["image"] == (FOX,)


async def test_requests_hold_no_images_in_memory_and_can_be_sent_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch([edit(), ImageRequest(prompt="plain")])
        await batch.wait()
        (first, second) = batch.requests
        assert isinstance(first, EditRequest)
        [sha256] = named(FOX)
        assert first.images == (StoredInput(root=tmp_path, sha256=sha256),)
        assert type(second) is ImageRequest
        again = await studio.make(first)
    assert (again.reused, len(batch_server.edits)) == (True, 1)


@pytest.mark.parametrize("harm", ["removed", "changed", "cut", "a link"])
async def test_an_edit_whose_copy_is_missing_or_changed_fails_alone_and_is_not_sent(
    batch_server: "BatchServer", tmp_path: Path, harm: str
) -> None:
    name = await interrupted(batch_server, tmp_path, edit("night"), edit("day", images=OWL))
    [fox] = named(FOX)
    copy = inputs_folder(tmp_path) / fox
    copy.unlink()
    match harm:
        case "changed":
            copy.write_bytes(MASK)
        case "cut":
            copy.write_bytes(FOX[:-1])
        case "a link":
            (tmp_path / "elsewhere.png").write_bytes(FOX)
            copy.symlink_to(tmp_path / "elsewhere.png")
        case _:
            pass
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        again = await studio.resume(name)
        outcomes = {outcome.index: outcome async for outcome in again}
    failed = outcomes[0]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidRequest)
    assert "the input image of this edit" in failed.error.message
    assert failed.error.next_step == "Request the edit again with its input images."
    assert isinstance(outcomes[1], Done)
    assert batch_server.sent == ["day"]


async def test_a_folder_that_accepts_no_copies_is_refused_or_waited_for(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, full = input_store._copy, True

    def copied(*given: object) -> None:
        if full:
            raise OSError(28, "No space left on device")
        copy(*given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(input_store, "_copy", copied)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        with pytest.raises(CannotSave, match=r"Cannot store the input images of an edit .*No space left"):
            await studio.batch([edit()])
        assert await studio.batches() == ()
        batch = studio.batch(iter([edit()]))
        events = batch.events()
        await batch
        async for event in events:
            if event.kind == "paused":
                full = False
        assert batch.progress.done == 1
    assert batch_server.edits[0][1]["image"] == (FOX,)


async def test_copies_beyond_the_limit_are_refused_before_anything_is_sent(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_store, "MOST_KEPT_BYTES", len(FOX) + 1)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await (await studio.batch([edit("a"), edit("b")])).wait()
        with pytest.raises(InvalidRequest, match="the limit is 0 GiB") as caught:
            await studio.batch([edit("c"), edit("d", images=OWL)])
        assert caught.value.parameter == "images"
        assert len(await studio.batches()) == 1
    assert sorted(batch_server.sent) == ["a", "b"]
    assert copies(tmp_path) == named(FOX)
