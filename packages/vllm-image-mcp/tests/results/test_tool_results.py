"""What comes back besides the structured content: a preview, links, the same as text, and never too much."""

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image
from vllm_image_mcp.results import previews
from vllm_image_mcp.results.previews import Drawing, SheetEntry, sheet

if TYPE_CHECKING:
    from conftest import OmniServer

Connect = Callable[..., Client]

SMALL = {"width": 64, "height": 64}
BASE64 = re.compile(r"[A-Za-z0-9+/]{200,}")


def parts(result: CallToolResult) -> tuple[list[TextContent], list[ImageContent], list[ResourceLink]]:
    kinds = [each.type for each in result.content]
    assert kinds == sorted(kinds, key=["text", "image", "resource_link"].index)
    return (
        [each for each in result.content if isinstance(each, TextContent)],
        [each for each in result.content if isinstance(each, ImageContent)],
        [each for each in result.content if isinstance(each, ResourceLink)],
    )


def sent(result: CallToolResult) -> int:
    return len(result.model_dump_json(by_alias=True).encode())


async def call(client: Client, tool: str, **arguments: object) -> CallToolResult:
    return await client.call_tool(tool, arguments)


async def test_an_image_comes_with_a_preview_a_link_and_the_same_as_text(
    connect: Connect, tmp_path: Path
) -> None:
    async with connect() as client:
        result = await call(client, "generate_image", prompt="a red fox", seed=7, width=1024, height=512)
    (text,), (preview,), (link,) = parts(result)
    told = result.structured_content
    assert told
    assert json.loads(text.text) == told
    path = Path(told["file_path"])
    assert path.parent == tmp_path
    assert (told["uri"], link.uri) == (f"image://{path.name}",) * 2
    assert (link.name, link.mime_type) == (path.name, "image/png")
    assert str(path) in (link.description or "")
    image = Image.open(io.BytesIO(base64.b64decode(preview.data)))
    assert (preview.mime_type, image.size) == ("image/jpeg", (768, 384))
    assert len(preview.data) <= 150_000


async def test_a_batch_comes_with_one_sheet_and_a_link_to_each_image(connect: Connect) -> None:
    async with connect() as client:
        result = await call(client, "batch_generate", prompts=["fox", "owl", "hare"], **SMALL)
    _, (sheet,), links = parts(result)
    told = result.structured_content
    assert told
    assert [link.uri for link in links] == [each["uri"] for each in told["results"]]
    assert [(link.description or "").split(":")[0] for link in links] == ["0", "1", "2"]
    assert len(sheet.data) <= 300_000


async def test_a_failed_image_has_no_link_and_the_others_are_on_the_sheet(
    connect: Connect, omni: "OmniServer"
) -> None:
    omni.failures["owl"] = (400, "no owls here")
    async with connect() as client:
        result = await call(client, "batch_generate", prompts=["fox", "owl", "hare"], **SMALL)
        nothing = await call(client, "batch_generate", prompts=["owl"], **SMALL)
    _, sheets, links = parts(result)
    assert (len(sheets), len(links)) == (1, 2)
    assert nothing.is_error
    assert parts(nothing)[1:] == ([], [])


async def test_what_all_images_of_a_batch_share_is_listed_once(connect: Connect) -> None:
    async with connect() as client:
        told = (await call(client, "batch_generate", prompts=["fox", "owl"], **SMALL)).structured_content
    assert told
    assert (told["model"], told["parameters"]) == (
        "black-forest-labs/FLUX.2-klein-4B",
        {"width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 1.0},
    )
    assert [each["parameters"] for each in told["results"]] == [{}, {}]


async def test_a_sweep_is_generated_and_described_cell_by_cell(connect: Connect, omni: "OmniServer") -> None:
    sweep = {"seed": [7, 8], "num_inference_steps": [2, 3]}
    async with connect() as client:
        result = await call(
            client, "batch_generate", prompts=["a red fox"], sweep=sweep, max_concurrent=1, **SMALL
        )
    told = result.structured_content
    assert told
    assert [each["parameters"] for each in told["results"]] == [
        {"num_inference_steps": steps} for steps in (2, 2, 3, 3)
    ]
    assert [(each["seed"], each["num_inference_steps"]) for each in omni.requests] == [
        *((7, 2), (8, 2)),
        *((7, 3), (8, 3)),
    ]
    assert [each["seed"] for each in told["results"]] == [7, 8, 7, 8]
    assert told["parameters"] == {"width": 64, "height": 64, "guidance_scale": 1.0}


async def test_a_sweep_of_an_ignored_setting_says_that_its_images_are_the_same(
    connect: Connect,
) -> None:
    async with connect() as client:
        sweep = {"guidance_scale": [1, 3], "seed": [7, 8]}
        ignored = await call(client, "batch_generate", prompts=["a red fox"], sweep=sweep, **SMALL)
        heeded = await call(client, "batch_generate", prompts=["a fox"], sweep={"seed": [7, 8]}, **SMALL)
    assert ignored.structured_content
    assert heeded.structured_content
    same = [note for note in ignored.structured_content["notes"] if "are identical" in note]
    assert [note.partition(" are")[0] for note in same] == ["Images 0, 1; and images 2, 3"]
    assert not any("are identical" in note for note in heeded.structured_content["notes"])


async def test_a_sweep_of_ratios_is_a_grid_of_sizes(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Sequence[SheetEntry]] = []

    def noted(places: Sequence[SheetEntry]) -> Drawing:
        drawn.append(places)
        return sheet(places)

    monkeypatch.setattr(previews, "sheet", noted)
    arguments = {"prompts": ["a fox"], "sweep": {"aspect_ratio": ["1:1", "16:9"], "seed": [1, 2]}}
    async with connect() as client:
        assert not (await client.call_tool("batch_generate", arguments)).is_error
    (places,) = drawn
    assert [place.parameters for place in places] == [
        {"size": "1024x1024", "seed": 1},
        {"size": "1024x576", "seed": 1},
        {"size": "1024x1024", "seed": 2},
        {"size": "1024x576", "seed": 2},
    ]


async def test_a_sweep_may_come_as_text_because_some_hosts_send_objects_so(
    connect: Connect, omni: "OmniServer"
) -> None:
    async with connect() as client:
        result = await call(
            client, "batch_generate", prompts=["a red fox"], sweep='{"seed": [1, 2]}', **SMALL
        )
    assert not result.is_error
    assert sorted(each["seed"] for each in omni.requests) == [1, 2]


async def test_an_invalid_sweep_is_refused_and_nothing_is_sent(connect: Connect, omni: "OmniServer") -> None:
    async with connect() as client:
        wrong = await call(client, "batch_generate", prompts=["fox"], sweep={"wdth": [64]}, **SMALL)
        bad = await call(client, "batch_generate", prompts=["fox"], sweep={"seed": ["x"]}, **SMALL)
    (text,), _, _ = parts(wrong)
    assert text.text.startswith("sweep has 'wdth', which is neither a parameter nor in the prompt. Use words")
    assert bad.is_error
    assert omni.requests == []


async def test_a_batch_takes_a_negative_prompt_and_a_quality(connect: Connect, omni: "OmniServer") -> None:
    omni.runs("Qwen/Qwen-Image")
    async with connect() as client:
        await call(
            client, "batch_generate", prompts=["fox"], negative_prompt="blur", quality="draft", **SMALL
        )
    (request,) = omni.requests
    assert request["negative_prompt"] == "blur"
    assert request["num_inference_steps"] < 50


@pytest.mark.parametrize(("kind", "extension"), [("jpeg", ".jpg"), ("webp", ".webp"), ("png", ".png")])
async def test_an_image_is_of_the_format_that_was_requested(
    connect: Connect, kind: str, extension: str
) -> None:
    async with connect() as client:
        result = await call(client, "generate_image", prompt="a red fox", output_format=kind, **SMALL)
    told = result.structured_content
    assert told
    assert Path(told["file_path"]).suffix == extension
    assert told["notes"] == []
    assert parts(result)[2][0].mime_type == f"image/{kind}"


async def test_preview_none_returns_no_image(connect: Connect) -> None:
    async with connect(preview="none") as client:
        one = await call(client, "generate_image", prompt="a red fox", **SMALL)
        many = await call(client, "batch_generate", prompts=["fox", "owl"], **SMALL)
    assert [parts(one)[1], parts(many)[1]] == [[], []]
    assert (len(parts(one)[2]), len(parts(many)[2])) == (1, 2)


async def test_a_large_preview_is_larger(connect: Connect) -> None:
    async with connect(preview="large") as client:
        result = await call(client, "generate_image", prompt="a red fox", width=2048, height=1024)
    _, (preview,), _ = parts(result)
    assert Image.open(io.BytesIO(base64.b64decode(preview.data))).size == (1536, 768)
    assert sent(result) <= 700_000


async def test_without_structured_content_the_text_has_everything_and_the_preview_stays(
    connect: Connect,
) -> None:
    async with connect(structured_content=False) as client:
        one = await call(client, "generate_image", prompt="a red fox", **SMALL)
        other = await call(client, "server_health")
        assert all(tool.output_schema is None for tool in (await client.list_tools()).tools)
    assert (one.structured_content, other.structured_content) == (None, None)
    (text,), (_,), (_,) = parts(one)
    assert json.loads(text.text)["parameters_used"]["prompt"] == "a red fox"
    assert json.loads(parts(other)[0][0].text)["status"] == "healthy"


@pytest.mark.parametrize("preview", ["small", "large"])
async def test_no_result_is_too_large_however_long_the_prompts_are(
    connect: Connect, omni: "OmniServer", preview: str
) -> None:
    omni.runs("Tongyi-MAI/Z-Image")
    long = "\t🦊" * 10_000
    async with connect(preview=preview) as client:
        one = await call(client, "generate_image", prompt=long, negative_prompt=long, seed=1)
        many = await call(client, "batch_generate", prompts=[long] * 20, negative_prompt=long, **SMALL)
        found = await call(client, "find_images", limit=20)
    for result in (one, many, found):
        assert not result.is_error
        assert sent(result) <= 700_000
    told = many.structured_content
    assert told
    assert len(told["results"][0]["prompt"]) == 1_000
    assert "Long prompts are cut in this list" in told["notes"][-1]
    assert one.structured_content
    cut = one.structured_content["parameters_used"]["prompt"]
    assert len(cut) <= 1_000
    assert long.startswith(cut.removesuffix("…"))


async def test_no_text_contains_an_image(connect: Connect) -> None:
    async with connect() as client:
        results = [
            await call(client, "generate_image", prompt="a red fox", **SMALL),
            await call(client, "batch_generate", prompts=["fox", "owl"], **SMALL),
            await call(client, "find_images"),
        ]
    for result in results:
        texts, images, links = parts(result)
        assert len(images) == 1
        told = [text.text for text in texts] + [link.model_dump_json() for link in links]
        assert not any(BASE64.search(each) for each in [*told, json.dumps(result.structured_content)])


async def test_an_error_is_text_only(connect: Connect) -> None:
    async with connect() as client:
        result = await call(client, "generate_image", prompt="")
    assert (result.is_error, result.structured_content) == (True, None)
    assert [type(each) for each in result.content] == [TextContent]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("generate_image", {"prompt": "a red fox"}), ("batch_generate", {"prompts": ["a red fox"]})],
)
async def test_a_model_that_only_edits_says_so_and_names_those_that_can_generate(
    connect: Connect, omni: "OmniServer", tool: str, arguments: dict[str, Any]
) -> None:
    omni.runs("Qwen/Qwen-Image-Edit-2511")
    async with connect() as client:
        result = await call(client, tool, **arguments)
    (text,), _, _ = parts(result)
    assert result.is_error
    assert "edits images; it does not generate them from text alone." in text.text
    assert "with another model, such as " in text.text
    assert omni.requests == []
