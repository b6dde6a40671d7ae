"""Edits in a batch: their pictures are kept, and the same edits are made again by whoever goes on with it."""

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from vllm_image_core.batches.input_cleanup import GRACE_SECONDS
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.batches.stored_items import request_as_json, request_from_json
from vllm_image_core.batches.worker_pool import Done, Failed
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.edit_resolver import ResolvedEdit
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage import input_store
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.input_store import StoredInput, inputs_folder
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60
SIZE = (64, 64)

IS_KILLED = """
import asyncio, sys
from pathlib import Path
from vllm_image_core.requests.edit_request import EditRequest
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.models import ModelList

class Silent:
    base_url = "http://gpu:6655"
    async def generate_image(self, request, /): await asyncio.Event().wait()
    async def edit_image(self, request, /, image, **pictures): await asyncio.Event().wait()
    async def get_models(self):
        klein = "black-forest-labs/FLUX.2-klein-4B"
        return ModelList.model_validate({"data": [{"id": klein, "root": klein}]})
    async def health_check(self): return True
    async def get_version(self): return "0.30.0"
    async def get_metrics(self): raise AssertionError
    async def aclose(self): pass

async def begin(out, given):
    edits = [
        EditRequest(prompt="night", images=given / "fox.png", seed=1),
        EditRequest(prompt="both", images=[given / "fox.png", (given / "owl.png").read_bytes()], seed=2),
        EditRequest(prompt="part", images=given / "owl.png", mask=given / "mask.png",
                    reference_image=given / "fox.png", strength=0.5, seed=3, num_inference_steps=6),
    ]
    batch = await Studio(Silent(), output_dir=out).batch([*edits, ImageRequest(prompt="plain", seed=4)])
    print(batch.id, flush=True)
    await asyncio.Event().wait()

asyncio.run(begin(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def png(colour: str, size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


FOX, OWL, MASK = png("#cc6600"), png("#665544"), png("#ffffff")


def edit(prompt: str = "night", **values: object) -> EditRequest:
    return EditRequest(**{"prompt": prompt, "images": FOX, "seed": 7, **values})  # type: ignore[arg-type]  # by name


def copies(folder: Path) -> dict[str, bytes]:
    """Everything in the folder of the copies, by name."""
    return {path.name: path.read_bytes() for path in inputs_folder(folder).iterdir()}


def named(*pictures: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}


def aged(folder: Path) -> None:
    """Let all copies be older than a sweep spares."""
    for path in inputs_folder(folder).iterdir():
        old = path.stat().st_mtime - GRACE_SECONDS - 1
        os.utime(path, (old, old))


async def interrupted(server: "BatchServer", folder: Path, *requests: ImageRequest) -> str:
    """A batch that was recorded, and whose process ended before anything was made."""
    server.gate.clear()
    async with server.studio(folder) as studio:
        batch = await studio.batch(requests)
    server.gate.set()
    server.edits.clear()
    server.sent.clear()
    return batch.id


def recorded_and_killed(out: Path, given: Path) -> str:
    with subprocess.Popen(
        [sys.executable, "-c", IS_KILLED, str(out), str(given)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        name = child.stdout.readline().strip()
        child.send_signal(signal.SIGKILL)
        child.wait(DEADLINE_SECONDS)
    return name


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
async def test_the_same_edits_are_made_by_another_process_after_kill_9(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.mkdir()
    for name, content in (("fox.png", FOX), ("owl.png", OWL), ("mask.png", MASK)):
        (given / name).write_bytes(content)
    name = await asyncio.to_thread(recorded_and_killed, out, given)
    assert copies(out) == named(FOX, OWL, MASK)
    for path in given.iterdir():
        path.write_bytes(b"something else now")

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(out) as studio:
        batch = await studio.resume(name)
        outcomes = {outcome.index: outcome async for outcome in batch}
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())
    assert sorted(batch_server.sent) == ["both", "night", "part", "plain"]
    by_prompt = {request.prompt: (request, pictures) for request, pictures in batch_server.edits}
    none = (None,)
    assert {prompt: pictures for prompt, (_, pictures) in by_prompt.items()} == {
        "night": {"image": (FOX,), "mask": none, "reference_image": none},
        "both": {"image": (FOX, OWL), "mask": none, "reference_image": none},
        "part": {"image": (OWL,), "mask": (MASK,), "reference_image": (FOX,)},
    }
    assert [by_prompt[prompt][0].seed for prompt in ("night", "both", "part")] == [1, 2, 3]
    part = by_prompt["part"][0]
    assert (part.strength, part.num_inference_steps, part.size) == (0.5, 6, "64x64")
    made = outcomes[2]
    assert isinstance(made, Done)
    assert [(each.role, each.name) for each in recall(made.value.path).inputs] == [
        ("image", "owl.png"),
        ("mask", "mask.png"),
        ("reference_image", "fox.png"),
    ]


async def test_a_picture_is_copied_once_whole_and_under_its_hash(
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


async def test_a_copy_that_is_not_what_its_name_says_is_written_anew(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    [name] = named(FOX)
    inputs_folder(tmp_path).mkdir(parents=True)
    (inputs_folder(tmp_path) / name).write_bytes(FOX[:-1])
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await (await studio.batch([edit()])).wait()
    assert copies(tmp_path) == named(FOX)
    assert batch_server.edits[0][1]["image"] == (FOX,)


async def test_requests_hold_no_pictures_in_memory_and_work_again_as_they_are(
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


async def test_the_same_edit_with_the_same_seed_and_pictures_is_made_once(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    (tmp_path / "another name.png").write_bytes(FOX)
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path / "out") as studio:
        first = await studio.batch([edit()])
        await first.wait()
        others = [
            edit(images=tmp_path / "another name.png"),
            edit(images=OWL),
            edit(mask=MASK),
            edit(mask=MASK, strength=0.4),
            edit(reference_image=MASK),
        ]
        second = await studio.batch(others, max_concurrent=1)
        await second.wait()
        made = [second.images[place] for place in range(5)]
    assert [image.reused for image in made] == [True, False, False, False, False]
    assert made[0].path == first.images[0].path
    assert len({image.path for image in made}) == 5


async def test_a_failed_edit_is_made_once_more_with_its_pictures_also_after_a_restart(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.fails = lambda _prompt, times: BadReply("junk") if times < 1 else None
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch([edit(mask=MASK)])
            await batch.wait()
            assert batch.progress.failed == 1
        aged(tmp_path)
        async with batch_server.studio(tmp_path) as studio:
            other = await studio.batch([edit("of another batch", images=OWL)])
            await other.wait()
            again = await studio.resume(batch.id)
            assert await again.retry_failed() == 1
            await again.wait()
            assert (again.progress.done, again.progress.failed) == (1, 0)
    first, last = (each for each in batch_server.edits if each[0].prompt == "night")
    assert first == last
    assert last[1] == {"image": (FOX,), "mask": (MASK,), "reference_image": (None,)}


@pytest.mark.parametrize("harm", ["removed", "changed", "cut", "a link"])
async def test_an_edit_whose_copy_is_not_there_as_it_was_fails_alone_and_is_not_sent(
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


async def test_edits_of_an_iterator_are_kept_and_one_that_cannot_be_used_fails_alone(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def some() -> Iterator[ImageRequest]:
        yield edit("a")
        yield edit("b", images=b"no picture")
        yield edit("c", images=OWL)

    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(some())
            outcomes = {outcome.index: outcome async for outcome in batch}
            assert [isinstance(outcomes[place], Done) for place in range(3)] == [True, False, True]
            assert copies(tmp_path) == named(FOX, OWL)
        async with batch_server.studio(tmp_path) as studio:
            again = await studio.resume(batch.id)
            assert await again.retry_failed() == 1
            await again.wait()
            assert "could not be used when the batch was recorded" in str(again.errors[1])
    assert sorted(batch_server.sent) == ["a", "c"]


async def test_a_folder_that_takes_no_copies_is_refused_or_waited_for(
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


async def test_more_copies_than_are_kept_are_refused_before_anything_is_sent(
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


# Swept


async def test_old_copies_are_swept_when_no_batch_needs_them(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        waiting = await interrupted(batch_server, tmp_path, edit("waits", images=MASK))
        async with batch_server.studio(tmp_path) as studio:
            await (await studio.batch([edit("done")])).wait()
            assert copies(tmp_path) == named(FOX, MASK)
            aged(tmp_path)
            await (await studio.batch([edit("later", images=OWL)])).wait()
            assert copies(tmp_path) == named(OWL, MASK)
            await (await studio.resume(waiting)).wait()
            aged(tmp_path)
            await (await studio.batch([ImageRequest(prompt="plain")])).wait()
            assert copies(tmp_path) == {}
    assert batch_server.edits[-1][1]["image"] == (MASK,)


async def test_the_copies_of_a_cancelled_batch_are_swept(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        name = await interrupted(batch_server, tmp_path, edit())
        async with batch_server.studio(tmp_path) as studio:
            await studio.cancel_batch(name)
            aged(tmp_path)
            await (await studio.batch([ImageRequest(prompt="plain")])).wait()
    assert copies(tmp_path) == {}


async def test_a_copy_that_is_needed_anew_is_young_again(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        await (await studio.batch([edit("a")])).wait()
        aged(tmp_path)
        await (await studio.batch([edit("b")])).wait()
    assert copies(tmp_path) == named(FOX)


# Read again


async def test_a_picture_of_an_edit_is_read_again_with_its_inputs_and_without_them(
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


# What a journal may say


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


@pytest.mark.parametrize("told", HOSTILE)
async def test_whatever_a_journal_says_of_an_edit_nothing_else_is_made_of_it(
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


def test_an_edit_is_told_and_read_with_all_of_its_values(tmp_path: Path) -> None:
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
