"""The studio, from the caller's side: batches, searches, servers and previews."""

import asyncio
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from drawing_server import NOON, DownServer, Server, png, studio_of
from vllm_image_core.batches.items import Done
from vllm_image_core.errors import InvalidRequest, UnknownBatch
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_core.imaging.picture import read_text
from vllm_image_core.requests.fields import RequestValues
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import BadReply
from vllm_omni_client.models import ImageGenerationRequest

if TYPE_CHECKING:
    from conftest import BatchServer


async def test_a_folder_may_start_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    async with Studio(Server(), output_dir="~/images", spill_dir="~/spilled") as studio:
        image = await studio.generate("a red fox")
    assert image.path.parent == studio.output_dir == tmp_path / "images"


@pytest.mark.parametrize("parameter", ["output_dir", "spill_dir"])
def test_the_home_folder_of_an_unknown_user_is_refused(parameter: str) -> None:
    with pytest.raises(InvalidRequest, match="a user that does not exist") as caught:
        Studio(Server(), **{parameter: "~nobody-has-this-name/images"})  # type: ignore[arg-type]  # a folder
    assert caught.value.parameter == parameter


async def test_a_notebook_shows_the_image(tmp_path: Path) -> None:
    image = await studio_of(Server(), tmp_path).generate("a red fox", width=64, height=64)
    shown = image._repr_html_()
    assert '<img src="data:image/webp;base64,' in shown
    assert all(text in shown for text in (image.path.name, f"seed {image.seed}", 'alt="a red fox"'))


async def test_an_interrupted_image_is_explained_in_one_line(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    batch_server.gate.clear()
    async with batch_server.studio(tmp_path) as studio:
        generating = asyncio.create_task(studio.generate("a red fox", width=64, height=64))
        await batch_server.came(1)
        generating.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await generating
    assert caught.value.__dict__["_render_traceback_"]() == [
        "Interrupted: the image was cancelled. The server may still finish it."
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("steps", "did you mean num_inference_steps?"),
        ("stepz", "did you mean num_inference_steps?"),
        ("size", "did you mean width and height?"),
        ("cfg", "did you mean guidance_scale?"),
        ("sead", "did you mean seed?"),
        ("sampler", "use one of negative_prompt, width, height, "),
        ("n", "for several images, use batch."),
    ],
)
async def test_a_misspelt_value_is_refused_with_the_one_that_is_meant(
    name: str, hint: str, tmp_path: Path
) -> None:
    studio = studio_of(server := Server(), tmp_path)
    value: Any = {name: 4}
    for call in (
        lambda: studio.generate("a red fox", **value),
        lambda: studio.edit("a red fox", b"", **value),
        lambda: studio.grid(["a red fox"], **value),
    ):
        with pytest.raises(InvalidRequest, match=f"{name} is not a parameter of an image; ") as caught:
            await call()
        assert hint in str(caught.value)
    with pytest.raises(InvalidRequest, match=f"{name} is not a parameter of an image; "):
        studio.batch(["a red fox"], **value)
    assert server.requests == []


async def test_the_seed_minus_one_asks_for_a_random_seed(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    drawn, given = [await studio.generate("a red fox", seed=seed, width=64, height=64) for seed in (-1, -2)]
    assert (drawn.seed, given.seed) == (42, -2)
    assert [request.seed for request in server.requests] == [42, -2]


def test_help_describes_every_field_of_a_request() -> None:
    text = inspect.getdoc(Studio.generate) or ""
    assert all(f"    {name}: " in text for name in RequestValues.__annotations__)
    assert "values:" not in text


@pytest.mark.parametrize("name", [name for name in dir(Studio) if not name.startswith("_")])
def test_help_shows_each_method_with_its_own_arguments(name: str) -> None:
    method = getattr(Studio, name)
    assert inspect.getdoc(method)
    if callable(method):
        kinds = {each.kind for each in inspect.signature(method).parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def test_only_a_single_server_is_retried_several_stand_in_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retries: list[int] = []

    def connect(server: str, *, max_retries: int, **_others: object) -> Server:
        retries.append(max_retries)
        return Server(base_url=server)

    monkeypatch.setattr("vllm_image_core.studio.connect", connect)
    for servers in ("http://one", ["http://one", "http://two"]):
        Studio(servers, output_dir=tmp_path)
    assert retries == [2, 0, 0]


async def test_a_batch_can_be_generated_again(tmp_path: Path) -> None:
    server, requests = Server(), [ImageRequest(prompt="a red fox", width=64, height=64, seed=7)]
    for fresh in (False, False, True):
        async with await studio_of(server, tmp_path).batch(requests, fresh=fresh) as batch:
            assert [outcome.index async for outcome in batch] == [0]
    assert len(server.requests) == 2


async def test_images_are_found_by_words_tag_and_batch(tmp_path: Path) -> None:
    studio = studio_of(Server(), tmp_path)
    fox = await studio.generate("a red fox", width=64, height=64, tag="winter")
    requests = [ImageRequest(prompt="a blue bird", width=64, height=64, tag="winter")]
    async with await studio.batch(requests) as batch:
        [outcome] = [outcome async for outcome in batch]
    assert isinstance(outcome, Done)
    bird = outcome.value

    async def found(**query: str) -> list[Path]:
        return [record.path for record in (await studio.find(**query)).pictures]  # type: ignore[arg-type]  # by name

    assert await found(text="foxes") == [fox.path]
    assert await found(batch=batch.id) == [bird.path]
    assert await found(tag="winter") == [bird.path, fox.path]
    assert await found(text="winter red") == [fox.path]


@pytest.mark.parametrize("limit", [0, "5"])
async def test_a_search_with_a_wrong_limit_is_refused(tmp_path: Path, limit: object) -> None:
    with pytest.raises(InvalidRequest):
        await studio_of(Server(), tmp_path).find(limit=limit)  # type: ignore[arg-type]  # unchecked


async def test_a_batch_gives_each_request_one_outcome(tmp_path: Path) -> None:
    def sometimes(request: ImageGenerationRequest) -> bytes:
        if request.prompt == "bad":
            raise BadReply("junk")
        return png(request)

    requests = [ImageRequest(prompt=prompt, width=64, height=64) for prompt in ("one", "bad", "three")]
    batch = await studio_of(Server(draw=sometimes), tmp_path).batch(requests, max_concurrent=2)
    async with batch:
        indexes = sorted([outcome.index async for outcome in batch])

    assert indexes == [0, 1, 2]
    assert list(batch.images) == [0, 2]
    assert list(batch.errors) == [1]
    assert (batch.over, batch.cancelled, batch.unfinished_count) == (True, False, 0)
    assert len(list(tmp_path.glob("*.png"))) == 2


async def test_a_batch_with_one_bad_request_sends_nothing(tmp_path: Path) -> None:
    server = Server()
    requests = [ImageRequest(prompt="one"), ImageRequest(prompt="two", width=1000)]
    with pytest.raises(InvalidRequest) as caught:
        await studio_of(server, tmp_path).batch(requests)
    assert caught.value.__notes__ == ["This is entry 1 of the batch, counted from 0; nothing was sent."]
    assert server.requests == []


async def test_an_empty_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        await studio_of(Server(), tmp_path).batch([])


@pytest.mark.parametrize("at_once", [0, -1, True, "2", 2.0])
async def test_a_batch_needs_a_whole_number_of_images_at_once(tmp_path: Path, at_once: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await studio_of(Server(), tmp_path).batch([ImageRequest(prompt="one")], max_concurrent=at_once)  # type: ignore[arg-type]  # what a caller may send
    assert caught.value.parameter == "max_concurrent"


@pytest.mark.parametrize(("total_gb", "at_once"), [(None, 1), (16.0, 1), (20.0, 2), (80.0, 4)])
async def test_a_batch_runs_as_many_at_once_as_the_memory_allows(
    tmp_path: Path, total_gb: float | None, at_once: int
) -> None:
    studio = studio_of(Server(), tmp_path, gpu=Gpu(total_vram_gb=total_gb))
    batch = await studio.batch([ImageRequest(prompt="one")])
    assert batch.concurrency == at_once


async def test_a_batch_can_be_cancelled_by_its_id_and_keeps_what_is_done(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    batch = await studio.batch(
        [ImageRequest(prompt=f"{number}", width=64, height=64) for number in range(4)], max_concurrent=1
    )
    seen = 0
    async with asyncio.timeout(10), batch:
        async for _ in batch:
            seen += 1
            server.gate = asyncio.Event()
            assert (await studio.cancel_batch(batch.id)).state == "cancelled"
    assert (batch.cancelled, len(batch.images), batch.unfinished_count) == (True, seen, 4 - seen)


async def test_cancelling_a_batch_that_has_ended_changes_nothing(tmp_path: Path) -> None:
    studio = studio_of(Server(), tmp_path)
    batch = await studio.batch([ImageRequest(prompt="one", width=64, height=64)])
    async with batch:
        assert [outcome.index async for outcome in batch] == [0]
    ended = await studio.cancel_batch(batch.id)
    assert (ended.state, ended.done, ended.cancelled) == ("done", 1, 0)
    assert (batch.cancelled, list(batch.images), batch.unfinished_count) == (False, [0], 0)


@pytest.mark.parametrize("name", ["batch_0", "", 7])
async def test_an_unknown_batch_cannot_be_cancelled(tmp_path: Path, name: object) -> None:
    with pytest.raises(UnknownBatch):
        await studio_of(Server(), tmp_path).cancel_batch(name)  # type: ignore[arg-type]  # what a caller may send


async def test_a_batch_that_ended_is_found_by_every_studio_on_the_folder(tmp_path: Path) -> None:
    async with await studio_of(Server(), tmp_path).batch(
        [ImageRequest(prompt=word, width=64, height=64) for word in ("one", "two")]
    ) as batch:
        await batch.wait()
    other = studio_of(Server(), tmp_path)
    found = await other.find_batch(batch.id)
    assert (found.state, found.total, found.done, found.owner) == ("done", 2, 2, None)
    assert [(item.state, item.prompt, item.seed) for item in found.items] == [
        ("done", word, 42) for word in ("one", "two")
    ]
    assert {item.path for item in found.items} == set(tmp_path.glob("*.png"))
    assert [(each.id, each.prompt) for each in await other.batches()] == [(batch.id, "one")]


async def test_a_studio_with_several_servers_shares_the_work_and_says_which_server_generated_each_image(
    tmp_path: Path,
) -> None:
    servers = [Server(base_url=f"http://{name}:6655") for name in ("a", "b")]
    async with Studio(servers, output_dir=tmp_path, now=lambda: NOON) as studio:
        requests = [ImageRequest(prompt=f"fox {number}", width=64, height=64) for number in range(6)]
        async with await studio.batch(requests) as batch:
            made = [outcome.value async for outcome in batch if isinstance(outcome, Done)]
        assert studio.server_url == "http://a:6655, http://b:6655"
        assert [server.done for server in studio.servers] == [len(server.requests) for server in servers]

    assert len(made) == 6
    assert all(server.requests for server in servers)
    for image in made:
        [server] = [server for server in servers if server.base_url == image.server]
        assert image.seed in {request.seed for request in server.requests}
        facts = json.loads(read_text(image.path.read_bytes())["vllm-image"])
        assert (facts["server"], facts["server_version"]) == (image.server, "0.30.0")
    assert all(server.closed for server in servers)


async def test_a_server_can_be_added_and_another_removed(tmp_path: Path) -> None:
    first, second = Server(base_url="http://a"), Server(base_url="http://b")
    async with Studio(first, output_dir=tmp_path, now=lambda: NOON) as studio:
        studio.add_server(second)
        await studio.remove_server("http://a")
        assert first.closed
        await studio.generate("a red fox", width=64, height=64)
        assert [server.url for server in studio.servers] == ["http://b"]
    assert (len(first.requests), len(second.requests)) == (0, 1)


async def test_the_other_server_generates_an_image_if_one_is_down(tmp_path: Path) -> None:
    down, up = DownServer(base_url="http://a"), Server(base_url="http://b")
    async with Studio([down, up], output_dir=tmp_path, now=lambda: NOON) as studio:
        image = await studio.generate("a red fox", width=64, height=64)
        health = await studio.health()
    assert image.server == "http://b"
    assert health.status == "healthy"


@pytest.mark.parametrize("servers", [[], [Server(), Server()]])
def test_a_studio_needs_at_least_one_server_and_each_only_once(tmp_path: Path, servers: list[Server]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Studio(servers, output_dir=tmp_path)
    assert caught.value.parameter == "server"


async def test_leaving_the_studio_closes_the_connection(tmp_path: Path) -> None:
    server = Server()
    async with studio_of(server, tmp_path) as studio:
        assert studio.server_url == "http://gpu:6655"
        assert studio.output_dir == tmp_path
    assert server.closed


async def test_generated_and_found_images_can_be_previewed(tmp_path: Path) -> None:
    async with studio_of(Server(), tmp_path) as studio:
        image = await studio.generate("a red fox", width=512, height=512)
        small = await studio.preview(image, longest_side=64)
        page = await studio.find()
        sheet = await studio.contact_sheet([image, *page.pictures], longest_side=256)
    assert (small.width, small.height, small.format) == (64, 64, "webp")
    assert sheet.width == 256


@pytest.mark.parametrize("servers", ["http://127.0.0.1:9", ["http://127.0.0.1:9", "http://127.0.0.1:10"]])
async def test_the_key_is_not_in_plain_text_in_any_attribute_of_a_studio(
    tmp_path: Path, servers: str | list[str]
) -> None:
    async with Studio(servers, output_dir=tmp_path, api_key="sk-unseen-4711") as studio:
        assert [name for name, value in vars(studio).items() if "sk-unseen-4711" in repr(value)] == []


async def test_a_prompt_alone_is_a_batch_and_a_count_gives_it_variations(tmp_path: Path) -> None:
    server = Server()
    async with await studio_of(server, tmp_path).batch("a red fox", count=3, width=64, height=64) as batch:
        assert len([outcome async for outcome in batch]) == 3
    assert [request.prompt for request in server.requests] == ["a red fox"] * 3


async def test_prompts_of_an_iterator_are_varied_too(tmp_path: Path) -> None:
    server = Server()
    prompts = iter(["a red fox", {"prompt": "an owl", "size": "64x64"}])
    batch = studio_of(server, tmp_path).batch(prompts, sweep={"seed": [1, 2]}, aspect_ratio="1:1")
    async with await batch:
        assert len([outcome async for outcome in batch]) == 4
    assert sorted((each.prompt, each.seed, each.size) for each in server.requests) == [
        *(("a red fox", 1, "1024x1024"), ("a red fox", 2, "1024x1024")),
        *(("an owl", 1, "64x64"), ("an owl", 2, "64x64")),
    ]


async def test_a_forecast_checks_a_batch_and_sends_and_records_nothing(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    forecast = await studio.batch(["a fox", "an owl"], count=2, width=64, height=64).forecast()
    assert (forecast.images, forecast.bytes) == (4, int(4 * 64 * 64 * 2 * 1.2))
    assert str(forecast).startswith("4 images, ")
    with pytest.raises(InvalidRequest, match="Width 1000 is not a multiple of 16"):
        await studio.batch("a fox", width=1000).forecast()
    with pytest.raises(InvalidRequest, match="from an iterator cannot be estimated"):
        await studio.batch(iter(["a fox"])).forecast()
    assert server.requests == []
    assert await studio.batches() == ()


async def test_a_grid_has_labelled_axes_and_the_files_of_its_images(tmp_path: Path) -> None:
    server = Server()
    studio = studio_of(server, tmp_path)
    sweep = {"seed": [1, 2], "num_inference_steps": [2, 4]}
    grid = await studio.grid(["a red fox", "a red owl"], sweep=sweep, width=64, height=64)
    assert [(axis.name, axis.values) for axis in grid.axes or ()] == [
        ("seed", ["1", "2"]),
        ("num_inference_steps", ["2", "4"]),
        ("prompt", ["fox", "owl"]),
    ]
    assert len({*grid.paths}) == 8
    assert "<img " in grid._repr_html_()
    with pytest.raises(InvalidRequest, match="257 images in all"):
        await studio.grid("a red fox", count=257)


async def test_wildcard_files_are_read_from_their_folder(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "colour.txt").write_text("red\nblue\n", encoding="utf-8")
    server = Server()
    studio = Studio(server, output_dir=tmp_path / "images", wildcards_dir=tmp_path / "words")
    async with await studio.batch("a __colour__ fox", wildcards=True, width=64, height=64) as batch:
        assert len([outcome async for outcome in batch]) == 2
    assert sorted(each.prompt for each in server.requests) == ["a blue fox", "a red fox"]
