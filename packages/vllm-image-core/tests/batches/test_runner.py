"""Batches that outlive their process: recorded, sent, saved, and resumed without doing anything twice."""

import asyncio
import gc
import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from recorded_batches import forgotten, requests
from recorded_edits import FOX, MASK, OWL, copies, edit
from vllm_image_core.batches.eta import BatchEta
from vllm_image_core.batches.input_cleanup import GRACE_SECONDS
from vllm_image_core.batches.items import Done
from vllm_image_core.batches.queries import JOURNAL
from vllm_image_core.provenance.recall import recall
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage.database import Database
from vllm_image_core.storage.input_store import inputs_folder
from vllm_image_core.storage.owner import this_process
from vllm_image_core.storage.record import facts_in
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import BadReply

if TYPE_CHECKING:
    from conftest import BatchServer

DEADLINE_SECONDS = 60


async def killed(studio: Studio) -> None:
    """Leave a studio's batches as `kill -9` does: the lease is not released, and its process is dead."""
    for batch in studio._batches._batches.values():
        run = batch._started.run
        assert run is not None
        assert run._working is not None
        run.stop_reason = "lost"
        run._working.cancel()
        await run.over.wait()
    database = Database(studio.output_dir, JOURNAL)
    with database.open() as connection:
        connection.execute(
            "UPDATE batch SET place = ?, pid = ?", (this_process("").pid_namespace, _dead_pid())
        )


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(DEADLINE_SECONDS)
    return child.pid


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


def named(*pictures: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(picture).hexdigest(): picture for picture in pictures}


def aged(folder: Path) -> None:
    """Make all copies old enough to be removed."""
    for path in inputs_folder(folder).iterdir():
        old = path.stat().st_mtime - GRACE_SECONDS - 1
        os.utime(path, (old, old))


def recorded_and_killed(out: Path, given: Path) -> str:
    with subprocess.Popen(
        [sys.executable, "-c", IS_KILLED, str(out), str(given)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        name = child.stdout.readline().strip()
        child.kill()
        child.wait(DEADLINE_SECONDS)
    return name


async def test_requests_are_in_the_journal_before_the_first_is_sent(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        assert batch_server.sent == []
        found = await studio.find_batch(batch.id)
        assert [item.prompt for item in found.items] == ["fox 0", "fox 1", "fox 2"]
        assert [item.seed for item in found.items] == [request.seed for request in batch.requests]
        assert (found.state, found.owner, found.total) == ("running", "here", 3)


async def test_an_image_knows_its_batch_and_its_position(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
    told = [facts_in(path.read_bytes()) for path in tmp_path.glob("*.png")]
    assert sorted((each["position"], each["batch"]) for each in told) == [(n, batch.id) for n in range(3)]


async def test_p03_finished_images_are_not_generated_again_and_seeds_stay(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        studio = batch_server.studio(tmp_path)
        batch = await studio.batch(requests(6), max_concurrent=2)
        async for outcome in batch:
            if outcome.index >= 2:
                batch_server.gate.clear()
                break
        await batch_server.came(len(batch.images) + 2)
        await killed(studio)
        batch_server.gate.set()
        done, sent = set(batch.images), list(batch_server.sent)
        other = batch_server.studio(tmp_path)
        again = await other.resume(batch.id)
        assert {outcome.index async for outcome in again} == set(range(6)) - done
        assert (await other.find_batch(batch.id)).state == "done"
        await other.aclose()
    assert not {f"fox {index}" for index in done} & set(batch_server.sent[len(sent) :])
    assert len(batch_server.sent) - 6 <= 2
    assert all(len(set(seeds)) == 1 for seeds in batch_server.seeds.values())
    assert len(list(tmp_path.glob("*.png"))) == 6


async def test_p03_an_image_that_the_journal_lacks_is_found_in_the_folder(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(4))
            await batch.wait()
        forgotten(tmp_path, 1, 2)
        (tmp_path / ".vllm-image" / "index.sqlite3").unlink()
        async with batch_server.studio(tmp_path) as studio:
            again = await studio.resume(batch.id)
            outcomes = [outcome async for outcome in again]
            assert [outcome.index for outcome in outcomes] == [1, 2]
            assert [outcome.value.reused for outcome in outcomes if isinstance(outcome, Done)] == [False] * 2
            assert again.progress.done == 4
    assert len(batch_server.sent) == 4


@pytest.mark.parametrize("harm", ["removed", "cut"])
async def test_an_image_that_is_no_longer_complete_is_generated_again(
    batch_server: "BatchServer", tmp_path: Path, harm: str
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
        lost = batch.images[1].path
        lost.write_bytes(lost.read_bytes()[:-5]) if harm == "cut" else lost.unlink()
        again = await studio.resume(batch.id)
        assert [outcome.index async for outcome in again] == [1]
    assert batch_server.sent == ["fox 0", "fox 1", "fox 2", "fox 1"]


async def test_equal_requests_that_are_generated_again_are_distinguished_by_position(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    same = [ImageRequest(prompt="a fox", width=64, height=64, seed=7)] * 3
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(same, fresh=True, max_concurrent=1)
        await batch.wait()
        await batch.close()
        forgotten(tmp_path, 1)
        next(path for path in tmp_path.glob("*.png") if facts_in(path.read_bytes())["position"] == 1).unlink()
        again = await studio.resume(batch.id)
        assert [outcome.index async for outcome in again] == [1]
    assert len(batch_server.sent) == 4


async def test_a_batch_of_a_closed_studio_is_interrupted_and_can_be_resumed(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(3))
            await batch_server.came(1)
        async with batch_server.studio(tmp_path) as studio:
            found = await studio.find_batch(batch.id)
            assert (found.state, found.waiting, found.owner) == ("interrupted", 3, None)
            batch_server.gate.set()
            again = await studio.resume(batch.id)
            assert len([outcome async for outcome in again]) == 3


async def test_a_batch_closed_at_its_last_image_is_reported_as_done(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(2))
        async for _ in batch:
            if batch.progress.done == 2:
                break
        await batch.close()
        assert (await studio.find_batch(batch.id)).state == "done"


async def test_p09_cancelling_during_a_save_leaves_no_partial_file_and_loses_no_image(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    for _ in range(5):
        async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
            batch = await studio.batch(requests(4), max_concurrent=4)
            await anext(aiter(batch))
            await batch.close()
            found = await studio.find_batch(batch.id)
            done = {item.path for item in found.items if item.state == "done"}
        mine = {path for path in tmp_path.glob("*.png") if facts_in(path.read_bytes())["batch"] == batch.id}
        assert mine == done


async def test_p12_memory_descriptors_and_tasks_stay_constant_however_many_images_are_generated(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    def now() -> tuple[int, int, int]:
        descriptors = Path("/proc/self/fd")
        count = len(list(descriptors.iterdir())) if descriptors.exists() else 0
        gc.collect()
        return tracemalloc.get_traced_memory()[0], count, len(asyncio.all_tasks())

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        batch = studio.batch(iter(requests(300)), max_concurrent=2)
        seen: list[tuple[int, int, int]] = []
        tracemalloc.start()
        try:
            async for _ in batch:
                batch_server.sent.clear()
                batch_server.seeds.clear()
                if len(batch.images) % 100 == 0:
                    seen.append(now())
        finally:
            tracemalloc.stop()
        await batch.wait()
        assert not batch._started.states.unwritten
    (early, descriptors, tasks), (late, later_descriptors, later_tasks) = seen[0], seen[-1]
    assert late - early < 300_000
    assert later_descriptors <= descriptors + 2
    assert later_tasks <= tasks + 1


async def test_a_batch_that_is_cancelled_while_it_starts_is_released(
    batch_server: "BatchServer", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = asyncio.Event()

    async def for_ever(*_: object) -> None:
        counting.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_SECONDS), batch_server.studio(tmp_path) as studio:
        begun = await studio.batch(requests(2))
        await begun.close()
        batch = studio.resume(begun.id)
        with monkeypatch.context() as patch:
            patch.setattr(BatchEta, "add_waiting", for_ever)
            beginning = asyncio.ensure_future(batch.wait())
            await counting.wait()
            await batch.cancel()
            await asyncio.wait([beginning])
        assert (await studio.find_batch(batch.id)).state == "interrupted"
        again = await studio.resume(batch.id)
        await again.wait()
        assert again.progress.done == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
async def test_another_process_makes_the_same_edits_after_kill_9(
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


async def test_the_same_edit_with_the_same_seed_and_images_runs_once(
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


async def test_a_failed_edit_is_tried_again_with_its_images_even_after_a_restart(
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


async def test_edits_of_an_iterator_are_stored_and_an_invalid_one_fails_alone(
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
