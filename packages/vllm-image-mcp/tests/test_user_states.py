"""Users cannot see what belongs to others: each tool and resource, tried by each user."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import httpx2
import pytest
from http_process import DEADLINE_SECONDS, HttpServer, connected, content_of, text_of, write_users
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import (
    BlobResourceContents,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    ResourceTemplateReference,
    Root,
    TextResourceContents,
    Tool,
)
from pydantic import FileUrl
from vllm_image_core.batches.limits import Limits
from vllm_image_mcp.server_key import ServerKey
from vllm_image_mcp.settings import Settings
from vllm_image_mcp.telemetry.metrics import Metrics
from vllm_image_mcp.user_states import UserStates
from vllm_image_mcp.users.user import User, Users, digest_of

TOKENS = {"anna": "anna-3d1f6a0c9b7e", "bert": "bert-51ce28d7f0a4", "cleo": "cleo-9e07b2c64d18"}
SECRET_PROMPT = "a lighthouse that only anna knows"
MISSING_BATCH = "b-00000000000000000000000000000000"
SMALL = {"width": 64, "height": 64}

OTHERS = pytest.mark.parametrize("user", ["bert", "cleo"])
ERAS = pytest.mark.parametrize(
    "era", [pytest.param("2025-11-25", marks=pytest.mark.legacy_era), "2026-07-28"]
)


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What anna owns."""

    batch: str
    seed: int
    path: Path
    uri: str

    @property
    def traces(self) -> tuple[str, ...]:
        """Texts that must not reach anybody else."""
        return (SECRET_PROMPT, self.path.name, str(self.path.parent), self.batch, TOKENS["anna"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tmp_path_factory.mktemp("images")
    users = write_users(folder.parent / "users.toml", TOKENS)
    started = HttpServer("--users-file", str(users), folder=folder)
    yield started
    errors = started.close()
    assert not any(token in errors for token in TOKENS.values())


@pytest.fixture(scope="module")
def owned(server: HttpServer) -> Owned:
    async def make() -> Owned:
        async with connected(server.url, TOKENS["anna"]) as client:
            image = content_of(await client.call_tool("generate_image", {"prompt": SECRET_PROMPT, **SMALL}))
            batch = content_of(
                await client.call_tool("batch_generate", {"prompts": [SECRET_PROMPT, "b"], **SMALL})
            )
        return Owned(
            batch=batch["batch_id"],
            seed=image["parameters_used"]["seed"],
            path=Path(image["file_path"]),
            uri=image["uri"],
        )

    return asyncio.run(make())


def test_each_user_has_a_folder_of_their_own(server: HttpServer, owned: Owned) -> None:
    assert owned.path.parent.parts[-2:] == ("users", "anna")
    assert owned.path.is_file()


def test_nobody_without_a_token_is_a_user(server: HttpServer) -> None:
    assert server.ask()[0] == 401
    assert server.ask(authorization="Bearer anna")[0] == 401
    assert server.ask(authorization=f"Bearer {TOKENS['bert']}")[0] == 200


BATCH_CALLS: list[tuple[str, dict[str, object]]] = [
    ("get_batch", {}),
    ("get_batch", {"wait": False}),
    ("get_batch", {"resume": True}),
    ("cancel_batch", {}),
    ("rate_images", {"indexes": [0], "verdict": "reject"}),
]


@ERAS
@OTHERS
@pytest.mark.parametrize("call", BATCH_CALLS)
async def test_the_batch_of_another_user_is_unknown(
    server: HttpServer, owned: Owned, user: str, era: str, call: tuple[str, dict[str, object]]
) -> None:
    tool, more = call
    async with connected(server.url, TOKENS[user], era=era) as client:
        theirs = text_of(await client.call_tool(tool, {"batch_id": owned.batch, **more}))
        missing = text_of(await client.call_tool(tool, {"batch_id": MISSING_BATCH, **more}))
    assert theirs.replace(owned.batch, "B") == missing.replace(MISSING_BATCH, "B")


@OTHERS
async def test_lists_and_searches_do_not_show_what_belongs_to_others(
    server: HttpServer, owned: Owned, user: str
) -> None:
    async with connected(server.url, TOKENS[user]) as client:
        searches: list[dict[str, object]] = [
            {},
            {"text": SECRET_PROMPT},
            {"batch_id": owned.batch},
            {"seed": owned.seed},
        ]
        for search in searches:
            found = content_of(await client.call_tool("find_images", search))
            assert found["images"] == [] or all(
                trace not in json.dumps(found["images"]) for trace in owned.traces
            )
        listed = content_of(await client.call_tool("list_batches"))
        assert owned.batch not in json.dumps(listed)


@OTHERS
@pytest.mark.parametrize("role", ["images", "mask", "reference_image"])
@pytest.mark.parametrize("spelling", ["path", "name", "stem", "uri", "file url", "relative", "climbing"])
async def test_the_image_of_another_user_cannot_be_an_input(
    server: HttpServer, owned: Owned, user: str, role: str, spelling: str
) -> None:
    def named(path: Path) -> str:
        return {
            "path": str(path),
            "name": path.name,
            "stem": path.stem,
            "uri": f"image://{path.name}",
            "file url": path.as_uri(),
            "relative": f"users/anna/{path.name}",
            "climbing": f"../anna/{path.name}",
        }[spelling]

    async def refusal(client: Client, path: Path) -> str:
        own = content_of(await client.call_tool("generate_image", {"prompt": "own", "seed": 1, **SMALL}))
        images = {"images": [own["file_path"]], role: [named(path)] if role == "images" else named(path)}
        return text_of(await client.call_tool("edit_image", {"prompt": "night", **images}))

    missing = owned.path.with_name("never-made.png")
    async with connected(server.url, TOKENS[user]) as client:
        theirs, absent = await refusal(client, owned.path), await refusal(client, missing)
    assert theirs.replace(owned.path.stem, "X") == absent.replace(missing.stem, "X")


@OTHERS
async def test_the_image_of_another_user_is_not_reused(server: HttpServer, owned: Owned, user: str) -> None:
    again = {"prompt": f"a lighthouse for {user}, too", "seed": owned.seed, **SMALL}
    async with connected(server.url, TOKENS["anna"]) as client:
        content_of(await client.call_tool("generate_image", again))
        assert content_of(await client.call_tool("generate_image", again))["reused"]
    async with connected(server.url, TOKENS[user]) as client:
        made = content_of(await client.call_tool("generate_image", again))
    assert not made["reused"]
    assert Path(made["file_path"]).parent.name == user


@OTHERS
@pytest.mark.parametrize(
    "tool", ["get_model_info", "gpu_status", "list_presets", "server_health", "estimate_generation"]
)
async def test_reports_name_nobody(server: HttpServer, owned: Owned, user: str, tool: str) -> None:
    async with connected(server.url, TOKENS[user]) as client:
        report = (await client.call_tool(tool)).model_dump_json()
    assert not any(trace in report for trace in owned.traces)


@ERAS
@OTHERS
@pytest.mark.parametrize("kind", ["image", "smaller image", "batch"])
async def test_the_resources_of_another_user_are_missing(
    server: HttpServer, owned: Owned, user: str, era: str, kind: str
) -> None:
    uris = {
        "image": (owned.uri, "image://never-made.png"),
        "smaller image": (f"{owned.uri}?width=32", "image://never-made.png?width=32"),
        "batch": (f"batch://{owned.batch}", f"batch://{MISSING_BATCH}"),
    }[kind]
    answers: list[tuple[int, str]] = []
    async with connected(server.url, TOKENS[user], era=era) as client:
        for uri in uris:
            with pytest.raises(MCPError) as raised:
                await client.read_resource(uri)
            answers.append((raised.value.error.code, without_names(raised.value.error.message, owned)))
    assert answers[0] == answers[1]


def without_names(message: str, owned: Owned) -> str:
    for name in (owned.path.name, owned.batch, "never-made.png", MISSING_BATCH):
        message = message.replace(name, "X")
    return message


@ERAS
@OTHERS
async def test_resource_lists_and_completions_do_not_show_what_belongs_to_others(
    server: HttpServer, owned: Owned, user: str, era: str
) -> None:
    async with connected(server.url, TOKENS[user], era=era) as client:
        shown = [(await client.list_resources()).model_dump_json()]
        for content in (await client.read_resource("images://latest")).contents:
            assert isinstance(content, TextResourceContents)
            shown.append(content.text.replace(SECRET_PROMPT, "") if user in content.text else content.text)
        for template, name in (("image://{id}{?width,format}", "id"), ("batch://{id}", "id")):
            completed = await client.complete(
                ResourceTemplateReference(type="ref/resource", uri=template),
                argument={"name": name, "value": ""},
            )
            shown.append(completed.model_dump_json())
        for prompt in ("write_image_prompt", "explore_variations", "compare_settings"):
            value = {"idea" if prompt == "write_image_prompt" else "prompt": "a fox"}
            shown.append((await client.get_prompt(prompt, value)).model_dump_json())
    hidden = (str(owned.path.parent), owned.batch, TOKENS["anna"])
    assert not any(trace in text for text in shown for trace in hidden)


@ERAS
async def test_the_owner_still_has_everything(server: HttpServer, owned: Owned, era: str) -> None:
    async with connected(server.url, TOKENS["anna"], era=era) as client:
        batch = content_of(await client.call_tool("get_batch", {"batch_id": owned.batch}))
        assert batch["images_generated"] == 2
        [image] = (await client.read_resource(owned.uri)).contents
        assert isinstance(image, BlobResourceContents)
        found = content_of(await client.call_tool("find_images", {"text": "lighthouse"}))
        assert owned.path.name in json.dumps(found)


HANDLES = {"batch_id", "export_to", "images", "mask", "reference_image", "seed", "seeds", "text"}
"""Parameters that can name what belongs to somebody."""
VALUES = {
    *("prompt", "prompts", "negative_prompt", "width", "height", "aspect_ratio", "num_inference_steps"),
    *("guidance_scale", "filename", "quality", "style", "output_format", "lora", "extra_params", "max_wait"),
    *("count", "sweep", "zip", "wildcards", "dry_run", "max_concurrent", "mask_box", "mask_polygon"),
    *("outpaint", "upscale", "strength", "layers", "num_images", "wait", "resume", "model", "since", "until"),
    *("verdict", "stars", "tag", "new_seeds", "limit", "offset", "indexes"),
}
"""Parameters that cannot."""
SAMPLES: dict[str, object] = {"prompt": "a fox", "prompts": ["a fox"], "indexes": [0], "verdict": "reject"}


def arguments_for(tool: Tool, handle: str | None, owned: Owned) -> dict[str, object]:
    """What a tool needs, and one parameter that names what belongs to anna."""
    own = {
        "batch_id": owned.batch,
        "export_to": str(owned.path.parent),
        "images": [str(owned.path)],
        "mask": str(owned.path),
        "reference_image": str(owned.path),
        "seed": owned.seed,
        "seeds": [owned.seed],
        "text": SECRET_PROMPT,
    }
    needed = {
        *tool.input_schema.get("required", ()),
        *({"indexes", "verdict"} if handle == "batch_id" else ()),
    }
    samples = {**SAMPLES, "images": ["none.png"], "batch_id": MISSING_BATCH}
    given = {name: samples[name] for name in needed if name in tool.input_schema.get("properties", {})}
    sizes = SMALL if "width" in tool.input_schema.get("properties", {}) else {}
    return {**given, **sizes, **({handle: own[handle]} if handle else {})}


@OTHERS
async def test_every_tool_is_tried_with_each_parameter_of_another_user(
    server: HttpServer, owned: Owned, user: str
) -> None:
    async with connected(server.url, TOKENS[user]) as client:
        tools = (await client.list_tools()).tools
        for tool in tools:
            parameters = set(tool.input_schema.get("properties", {}))
            assert parameters <= HANDLES | VALUES, f"{tool.name}: say whether they name what somebody owns"
            for handle in (None, *sorted(parameters & HANDLES)):
                given = arguments_for(tool, handle, owned)
                answer = (await client.call_tool(tool.name, given)).model_dump_json()
                hidden = [trace for trace in owned.traces if trace not in json.dumps(given)]
                assert [trace for trace in hidden if trace in answer] == [], (tool.name, handle)


@OTHERS
@ERAS
async def test_every_resource_is_tried_with_another_user(
    server: HttpServer, owned: Owned, user: str, era: str
) -> None:
    of_anna = {
        "image://{id}{?width,format}": owned.uri,
        "batch://{id}": f"batch://{owned.batch}",
        "profile://{+model}": None,
        "style://{name}": None,
    }
    async with connected(server.url, TOKENS[user], era=era) as client:
        for template in (await client.list_resource_templates()).resource_templates:
            uri = of_anna[template.uri_template]
            if uri is not None:
                with pytest.raises(MCPError):
                    await client.read_resource(uri)
        for resource in (await client.list_resources()).resources:
            shown = f"{resource} {(await client.read_resource(str(resource.uri))).model_dump_json()}"
            assert [trace for trace in owned.traces if trace in shown] == [], resource.uri


async def test_the_running_batch_of_another_user_cannot_be_stopped(server: HttpServer) -> None:
    prompts = [f"fox {number}" for number in range(10)]
    async with connected(server.url, TOKENS["anna"]) as anna, connected(server.url, TOKENS["bert"]) as bert:
        begun = content_of(
            await anna.call_tool("batch_generate", {"prompts": prompts, "max_wait": 0, **SMALL})
        )
        assert (await bert.call_tool("cancel_batch", {"batch_id": begun["batch_id"]})).is_error
        done = content_of(await anna.call_tool("get_batch", {"batch_id": begun["batch_id"]}))
    assert (done["status"], done["images_generated"]) == ("success", 10)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_caller_over_http_cannot_allow_a_folder(
    server: HttpServer, owned: Owned, mode: Literal["legacy", "auto"]
) -> None:
    async def agree(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        raise AssertionError("nobody may be asked for a folder of the server")

    async def roots(context: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl(owned.path.parent.as_uri()))])

    headers = {"authorization": f"Bearer {TOKENS['bert']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(
            streamable_http_client(server.url, http_client=http),
            mode=mode,
            elicitation_callback=agree,
            list_roots_callback=roots,
        ) as client,
    ):
        refused = await client.call_tool("edit_image", {"prompt": "night", "images": [str(owned.path)]})
    assert "it is outside the folders that may be read" in text_of(refused)


def test_all_users_share_one_queue_and_nothing_else(tmp_path: Path) -> None:
    users = Users(
        User(name=name, digest=digest_of(token), share=2.0 if name == "anna" else 1.0)
        for name, token in TOKENS.items()
    )
    settings = Settings.from_arguments(demo=True, output_dir=tmp_path)
    states = UserStates(settings, users, Metrics(), ServerKey(b"secret"))
    anna, bert, _ = (states.of(user) for user in users)
    assert anna.studio.output_dir == tmp_path / "users" / "anna"
    assert bert.studio.output_dir == tmp_path / "users" / "bert"
    assert anna.tracker is not bert.tracker
    assert anna.registry is bert.registry


async def test_users_share_the_ended_batches_that_a_process_remembers(tmp_path: Path) -> None:
    users = Users(User(name=f"user-{number}", digest=digest_of(f"token-{number}")) for number in range(60))
    settings = Settings.from_arguments(demo=True, output_dir=tmp_path)
    states = UserStates(settings, users, Metrics(), ServerKey(b"secret"))
    state = next(iter(states))
    ids: list[str] = []
    for number in range(3):
        batch = state.studio.batch([f"fox {number}"], width=64, height=64)
        monitor = await state.tracker.begin(batch)
        while not monitor.over:
            await monitor.wait_for_change(DEADLINE_SECONDS)
        ids.append(batch.id)
    assert [state.tracker.monitor_of(each) is not None for each in ids] == [False, True, True]
    assert (await state.studio.find_batch(ids[0], limit=1)).done == 1
    await state.aclose()
    await states.aclose()


def test_a_user_gets_the_limits_and_the_share_that_they_have_now(tmp_path: Path) -> None:
    anna = User(name="anna", digest=digest_of(TOKENS["anna"]))
    settings = Settings.from_arguments(demo=True, output_dir=tmp_path)
    states = UserStates(settings, Users([anna]), Metrics(), ServerKey(b"secret"))
    state, limits = states.of(anna), Limits(images_per_hour=1)
    studio = state.studio
    states.admit(replace(anna, share=3.0, limits=limits))
    assert states.of(anna) is state
    assert studio._batches._context.limits == limits
    assert states._servers.fleet.queue.flow("anna").share == 3.0


def test_the_only_user_has_the_output_folder_itself(tmp_path: Path) -> None:
    users = Users.only(None)
    states = UserStates(
        Settings.from_arguments(demo=True, output_dir=tmp_path), users, Metrics(), ServerKey(b"secret")
    )
    [user] = users
    assert states.of(user).studio.output_dir == tmp_path


async def test_what_is_learned_about_the_servers_is_known_to_all_users(tmp_path: Path) -> None:
    users = Users(User(name=name, digest=digest_of(token)) for name, token in TOKENS.items())
    settings = Settings.from_arguments(demo=True, output_dir=tmp_path)
    states = UserStates(settings, users, Metrics(), ServerKey(b"secret"))
    anna, bert, _ = (states.of(user) for user in users)
    before = await bert.studio.estimate()
    await anna.studio.generate("a fox", width=64, height=64)
    after = await bert.studio.estimate()
    for state in states:
        await state.aclose()
    await states.aclose()
    assert before.basis != after.basis
