import base64
import io
import re

import httpx
import pytest
from PIL import Image
from vllm_omni_client.simulator import SimulatorSettings, create_app
from vllm_omni_client.simulator.http.http_error import RequestValidationError
from vllm_omni_client.simulator.http.release import release_for

PATH = "/v1/images/generations"
SMALL = {"prompt": "a red fox", "size": "65x64", "num_inference_steps": 1, "seed": 7}
VERSIONS = ("0.14.0", "0.20.0", "0.26.0", "0.30.0")


def client(version: str, **settings: object) -> httpx.AsyncClient:
    app = create_app(SimulatorSettings.model_validate({"server_version": version, **settings}))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator")


def png(mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("version", "speaks"),
    [
        ("0.14.0", (0, 14)),
        ("0.17.0", (0, 16)),
        ("0.19.3", (0, 18)),
        ("v0.20.0rc1", (0, 20)),
        ("0.25.9", (0, 24)),
        ("0.26.1", (0, 26)),
        ("0.30.0", (0, 30)),
        ("1.2", (0, 30)),
        ("0.1.0", (0, 14)),
        ("0.9.0", (0, 14)),
        ("dev", (0, 30)),
    ],
)
def test_the_newest_release_up_to_a_version_speaks_for_it(version: str, speaks: tuple[int, int]) -> None:
    assert release_for(version).version == speaks


async def test_the_keys_of_a_reply_by_release() -> None:
    replies: dict[str, dict[str, object]] = {}
    for version in VERSIONS:
        async with client(version) as http:
            body = (await http.post(PATH, json=SMALL)).json()
        replies[version] = {name: value for name, value in body.items() if name not in {"created", "data"}}
    metrics = replies["0.26.0"]["metrics"]
    assert isinstance(metrics, dict)
    assert replies == {
        "0.14.0": {"output_format": None, "size": None},
        "0.20.0": {"output_format": "png", "size": "65x64"},
        "0.26.0": {"output_format": "png", "size": "65x64", "cot_output": None, "metrics": metrics},
        "0.30.0": {
            "output_format": "png",
            "size": "64x64",
            "cot_output": None,
            "metrics": replies["0.30.0"]["metrics"],
        },
    }


async def test_the_keys_of_an_edit_by_release() -> None:
    keys: dict[str, tuple[object, object, bool]] = {}
    for version in VERSIONS:
        async with client(version) as http:
            form = {"prompt": "a", "num_inference_steps": "1"}
            response = await http.post("/v1/images/edits", data=form, files={"image": png()})
        body = response.json()
        keys[version] = (body["output_format"], body["size"], "metrics" in body)
    assert keys == {
        "0.14.0": ("png", "64x64", False),
        "0.20.0": ("png", "64x64", False),
        "0.26.0": ("png", "64x64", True),
        "0.30.0": ("png", "64x64", True),
    }


async def test_the_fields_in_the_description_by_release() -> None:
    generation: dict[str, int] = {}
    edits: dict[str, int] = {}
    for version in VERSIONS:
        async with client(version) as http:
            schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
        generation[version] = len(schemas["ImageGenerationRequest"]["properties"])
        edits[version] = len(schemas["Body_edit_images_v1_images_edits_post"]["properties"])
    assert generation == {"0.14.0": 14, "0.20.0": 19, "0.26.0": 22, "0.30.0": 24}
    assert edits == {"0.14.0": 19, "0.20.0": 25, "0.26.0": 31, "0.30.0": 31}


@pytest.mark.parametrize(
    ("version", "sent", "magic"),
    [
        ("0.14.0", {"output_format": "webp"}, b"\x89PNG"),
        ("0.20.0", {"output_format": "webp"}, b"RIFF"),
        ("0.14.0", {"layers": 1}, b"\x89PNG"),
        ("0.20.0", {"extra_params": 7}, b"\x89PNG"),
        ("0.26.0", {"output_compression": 1000}, b"\x89PNG"),
        ("0.26.0", {"response_format": "b64_json"}, b"\x89PNG"),
    ],
)
async def test_a_field_that_a_release_lacks_is_ignored(
    version: str, sent: dict[str, object], magic: bytes
) -> None:
    async with client(version) as http:
        response = await http.post(PATH, json=SMALL | sent)
    assert base64.b64decode(response.json()["data"][0]["b64_json"]).startswith(magic)


@pytest.mark.parametrize(
    ("version", "sent", "status"),
    [
        ("0.14.0", {"model": "another"}, 200),
        ("0.20.0", {"model": "another"}, 400),
        ("0.20.0", {"layers": 2}, 400),
        ("0.26.0", {"layers": 2}, 200),
        ("0.14.0", {"response_format": "file"}, 400),
        ("0.20.0", {"response_format": "file"}, 400),
        ("0.26.0", {"response_format": "file"}, 200),
        ("0.26.0", {"seed": 2**63}, 200),
        ("0.26.0", {"seed": 2**64}, 500),
        ("0.30.0", {"seed": 2**63}, 400),
        ("0.30.0", {"response_format": "url"}, 400),
        ("0.14.0", {"response_format": "url"}, 400),
    ],
)
async def test_a_status_that_changed_between_releases(
    version: str, sent: dict[str, object], status: int
) -> None:
    async with client(version) as http:
        assert (await http.post(PATH, json=SMALL | sent)).status_code == status


async def test_older_servers_name_the_formats_that_they_know() -> None:
    messages: list[str] = []
    for version, wanted in (("0.20.0", "file"), ("0.20.0", "url"), ("0.26.0", "url")):
        async with client(version) as http:
            response = await http.post(PATH, json=SMALL | {"response_format": wanted})
        messages.append(response.json()["error"]["message"])
    assert "Input should be 'b64_json' or 'url'" in messages[0]
    assert "Only 'b64_json' response format is supported, got: ResponseFormat.URL" in messages[1]
    assert "Only 'b64_json' or 'file' response format is supported" in messages[2]


@pytest.mark.parametrize(
    ("version", "status"), [("0.14.0", 500), ("0.20.0", 500), ("0.26.0", 400), ("0.30.0", 400)]
)
async def test_older_servers_have_no_limit_on_the_size_of_their_own(version: str, status: int) -> None:
    async with client(version) as http:
        assert (await http.post(PATH, json=SMALL | {"size": "9000x9000"})).status_code == status


async def test_the_oldest_server_applies_a_given_limit_only_to_edits() -> None:
    async with client("0.14.0", max_generated_image_size=1000) as http:
        made = await http.post(PATH, json=SMALL)
        form = {"prompt": "a", "num_inference_steps": "1"}
        refused = await http.post("/v1/images/edits", data=form, files={"image": png()})
    assert made.status_code == 200
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        "Requested image size 64x64 exceeds the maximum allowed size of 1000 pixels.",
    )


@pytest.mark.parametrize(
    ("version", "same"), [("0.14.0", True), ("0.20.0", True), ("0.26.0", False), ("0.30.0", False)]
)
async def test_a_guidance_of_zero_is_treated_as_one_by_older_servers(version: str, *, same: bool) -> None:
    async with client(version, model="Tongyi-MAI/Z-Image-Turbo") as http:
        zero, one = [
            (await http.post(PATH, json=SMALL | {"size": "64x64", "guidance_scale": scale})).json()["data"]
            for scale in (0.0, 1.0)
        ]
    assert (zero == one) is same


@pytest.mark.parametrize(("version", "route"), [("0.14.0", 404), ("0.18.0", 404), ("0.20.0", 200)])
async def test_the_oldest_servers_cannot_sleep(version: str, route: int) -> None:
    async with client(version) as http:
        response = await http.post("/v1/omni/sleep", json={"stage_ids": [0], "level": 1})
    assert response.status_code == route


async def test_a_0_20_server_that_never_slept_crashes_when_it_is_woken() -> None:
    async with client("0.20.0") as http:
        broken = await http.post("/v1/omni/wakeup", json={"stage_ids": [0]})
        await http.post("/v1/omni/sleep", json={"stage_ids": [0], "level": 1})
        woken = await http.post("/v1/omni/wakeup", json={"stage_ids": [0]})
    assert (broken.status_code, woken.status_code) == (500, 200)
    assert broken.json()["error"]["message"] == "'State' object has no attribute 'sleeping_stages'"


@pytest.mark.parametrize(
    ("version", "has"), [("0.14.0", False), ("0.20.0", False), ("0.24.0", True), ("0.26.0", True)]
)
async def test_older_servers_export_no_metrics_of_their_own(version: str, *, has: bool) -> None:
    async with client(version) as http:
        assert ("vllm_omni:" in (await http.get("/metrics")).text) is has


async def test_the_oldest_server_compresses_its_images() -> None:
    sizes: list[int] = []
    for version in ("0.14.0", "0.20.0"):
        async with client(version) as http:
            body = (await http.post(PATH, json=SMALL)).json()
        sizes.append(len(base64.b64decode(body["data"][0]["b64_json"])))
    assert sizes[0] < sizes[1]
    assert sizes[1] > 64 * 64 * 3


async def test_a_seed_of_zero_in_an_edit_is_random_on_the_oldest_server() -> None:
    same: dict[str, bool] = {}
    for version in ("0.14.0", "0.20.0"):
        async with client(version) as http:
            form = {"prompt": "a", "num_inference_steps": "1", "seed": "0"}
            first, second = [
                (await http.post("/v1/images/edits", data=form, files={"image": png()})).json()["data"]
                for _ in range(2)
            ]
        same[version] = first == second
    assert same == {"0.14.0": False, "0.20.0": True}


async def test_the_oldest_server_accepts_any_number_of_input_images() -> None:
    form = {"prompt": "a", "num_inference_steps": "1"}
    statuses: list[int] = []
    for version in ("0.14.0", "0.20.0"):
        async with client(version) as http:
            response = await http.post("/v1/images/edits", data=form, files=[("image", png())] * 5)
        statuses.append(response.status_code)
    assert statuses == [200, 400]


async def complaint(version: str, path: str = PATH, **request: object) -> dict[str, object]:
    async with client(version) as http:
        response = await http.post(path, **request)  # type: ignore[arg-type]  # what httpx takes
    assert response.status_code == 400
    return response.json()["error"]


async def test_a_broken_request_is_reported_in_the_words_of_each_release() -> None:
    wrong = {**SMALL, "n": 11}
    raw = (
        "{'type': 'less_than_equal', 'loc': ('body', 'n'), 'msg': 'Input should be less than or equal to 10',"
        " 'input': 11, 'ctx': {'le': 10}}"
    )
    place = (
        '\n\n  File "/usr/local/lib/python3.12/dist-packages/{file}",'
        " line {line}, in generate_images\n    POST /v1/images/generations"
    )
    old = {"type": "Bad Request", "param": None, "code": 400}
    own, wrapper = "vllm_omni/entrypoints/openai/api_server.py", "vllm/entrypoints/utils.py"
    for version, file, line in (("0.14.0", own, 872), ("0.20.0", wrapper, 1459)):
        message = f"1 validation error:\n  {raw}{place.format(file=file, line=line)} [{raw}]"
        assert await complaint(version, json=wrong) == {"message": message, **old}
    assert await complaint("0.26.0", json=wrong) == {
        "message": f"1 validation error:\n  {raw}",
        **old,
        "param": "body.n",
    }
    short = raw.replace("('body', 'n')", "'body.n'").replace("11", "'11'")
    assert await complaint("0.30.0", json=wrong) == {
        "message": f"1 validation error:\n  {short}",
        **old,
        "param": "body.n",
    }


def test_a_route_without_a_known_line_is_reported_without_one() -> None:
    missing = {"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}
    told = RequestValidationError([missing]).message_for(release_for("0.20.0"), "POST /v1/unknown")
    assert told == f"1 validation error:\n  {missing} [{missing}]"


async def test_paths_in_messages_are_hidden_since_0_26() -> None:
    shown = {
        version: (await complaint(version, json={**SMALL, "model": "/home/me/model.bin"}))["message"]
        for version in VERSIONS[1:]
    }
    assert ["'/home/me/model.bin'" in str(message) for message in shown.values()] == [True, False, False]


async def test_videos_are_listed_since_0_20_and_there_are_none() -> None:
    found: dict[str, tuple[int, object]] = {}
    for version in VERSIONS:
        async with client(version) as http:
            response = await http.get("/v1/videos")
        found[version] = (response.status_code, response.json().get("data"))
    assert found == {"0.14.0": (404, None), "0.20.0": (200, []), "0.26.0": (200, []), "0.30.0": (200, [])}


async def test_conversations_in_batches_are_known_since_0_20() -> None:
    found: list[int] = []
    for version in ("0.14.0", "0.20.0", "0.26.0", "0.28.0", "0.30.0"):
        async with client(version) as http:
            found.append((await http.post("/v1/chat/completions/batch", json={})).status_code)
    assert found == [404, 501, 501, 501, 501]


async def test_health_has_a_body_since_0_30() -> None:
    bodies: dict[str, tuple[int, str]] = {}
    for version in ("0.14.0", "0.18.0", "0.20.0", "0.24.0", "0.26.0", "0.28.0", "0.30.0"):
        async with client(version) as http:
            response = await http.get("/health")
        bodies[version] = (response.status_code, response.text)
    assert bodies.pop("0.30.0") == (200, '{"status":"healthy"}')
    assert set(bodies.values()) == {(200, "")}


@pytest.mark.parametrize(
    ("version", "status"),
    [("0.18.0", 200), ("0.20.0", 400), ("0.24.0", 400), ("0.26.0", 400), ("0.28.0", 400), ("0.30.0", 200)],
)
async def test_klein_takes_one_input_image_from_0_20_to_0_28(version: str, status: int) -> None:
    form = {"prompt": "a", "num_inference_steps": "1"}
    async with client(version) as http:
        response = await http.post("/v1/images/edits", data=form, files=[("image", png())] * 2)
    assert response.status_code == status
    if status != 200:
        told = "Received multiple input images. Only a single image is supported by this model."
        assert response.json()["error"]["message"] == told


async def test_the_metrics_of_an_edit_are_null_before_0_28() -> None:
    form = {"prompt": "a", "num_inference_steps": "1"}
    told: dict[str, bool] = {}
    for version in ("0.26.0", "0.28.0", "0.30.0"):
        async with client(version) as http:
            response = await http.post("/v1/images/edits", data=form, files=[("image", png())])
        told[version] = response.json()["metrics"] is not None
    assert told == {"0.26.0": False, "0.28.0": True, "0.30.0": True}


async def test_an_error_of_the_engine_is_worded_by_the_release() -> None:
    wrong = {**SMALL, "generator_device": ""}
    told: dict[str, str] = {}
    for version in ("0.20.0", "0.22.0", "0.24.0", "0.26.0"):
        async with client(version) as http:
            message = (await http.post(PATH, json=wrong)).json()["error"]["message"]
        told[version] = re.sub(r"img_gen-[0-9a-f]{16}", "<id>", message)
    words = "Device string must not be empty"
    assert told == {
        "0.20.0": f"Image generation failed: {{'request_id': '<id>', 'error': '{words}'}}",
        "0.22.0": f"Image generation failed: {words}",
        "0.24.0": f"Image generation failed: Worker failed with error '{words}', "
        "please check the stack trace above for the root cause",
        "0.26.0": f"Image generation failed: {words}",
    }


async def test_0_20_cannot_encode_what_is_called_jpg() -> None:
    statuses: list[tuple[int, int]] = []
    for version in ("0.20.0", "0.26.0"):
        async with client(version) as http:
            drawn = await http.post(PATH, json=SMALL | {"output_format": "jpg"})
            form = {"prompt": "a", "num_inference_steps": "1", "output_format": "jpg"}
            changed = await http.post("/v1/images/edits", data=form, files=[("image", png())])
        statuses.append((drawn.status_code, changed.status_code))
        if version == "0.20.0":
            assert drawn.json()["error"]["message"] == "Image generation failed: 'JPG'"
    assert statuses == [(500, 500), (200, 200)]


async def test_the_families_of_older_releases_in_their_metrics() -> None:
    families: dict[str, list[str]] = {}
    for version in ("0.20.0", "0.22.0", "0.24.0", "0.26.0", "0.28.0", "0.30.0"):
        async with client(version) as http:
            await http.post(PATH, json=SMALL)
            text = (await http.get("/metrics")).text
        families[version] = [
            name
            for name in re.findall(r"^# TYPE vllm([:_]omni.\w+) ", text, re.MULTILINE)
            if not name.endswith("_created")
        ]
    assert [len(each) for each in families.values()] == [0, 15, 17, 17, 36, 38]
    assert families["0.22.0"][0] == ":omni_num_requests_running"
    assert families["0.24.0"] == families["0.26.0"]
    assert "_omni:image_count_total" not in families["0.26.0"]
    assert set(families["0.30.0"]) - set(families["0.28.0"]) == {
        "_omni:speech_stream_aborted_total",
        "_omni:speech_stream_completed_total",
    }


async def test_0_22_does_not_count_images() -> None:
    latencies: list[str] = []
    for version in ("0.22.0", "0.24.0"):
        async with client(version) as http:
            await http.post(PATH, json=SMALL)
            text = (await http.get("/metrics")).text
        latencies += re.findall(r"^vllm.omni.e2e_request_latency_s_count\S+ (\S+)$", text, re.MULTILINE)
    assert latencies == ["0.0", "1.0"]


async def test_a_field_that_a_release_lacks_is_shown_with_the_complete_request() -> None:
    told = await complaint("0.26.0", json={"output_compression": 7, "n": 1})
    assert "'input': {'output_compression': 7, 'n': 1}" in str(told["message"])
