from collections.abc import AsyncIterator

import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings, create_app

FAULTS = "/simulator/faults"
PATH = "/v1/images/generations"
REQUEST = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 1}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(SimulatorSettings(control=True)))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        yield client


async def test_faults_are_added_listed_and_cleared(http: httpx.AsyncClient) -> None:
    added = await http.post(FAULTS, json={"faults": ["status@1", {"kind": "engine-death", "first": 2}]})
    assert added.json() == {"faults": {"status@1": 0, "engine-death@2-": 0}, "alive": True}
    statuses = [(await http.post(PATH, json=REQUEST)).status_code for _ in range(2)]
    assert statuses == [503, 500]
    assert (await http.get(FAULTS)).json() == {
        "faults": {"status@1": 1, "engine-death@2-": 1},
        "alive": False,
    }
    assert (await http.delete(FAULTS)).json() == {"faults": {}, "alive": True}
    assert (await http.post(PATH, json=REQUEST)).status_code == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"faults": ["nonsense"]}', "'nonsense' is not a valid fault"),
        (b"{}", "Field required"),
        (b"junk", "Invalid JSON"),
        (b'{"faults": [], "other": 1}', "Extra inputs are not permitted"),
    ],
)
async def test_anything_but_a_fault_is_refused(http: httpx.AsyncClient, body: bytes, reason: str) -> None:
    response = await http.post(FAULTS, content=body)
    assert response.status_code == 400
    assert reason in response.json()["error"]


async def test_faults_cannot_be_controlled_on_a_server_without_control_routes() -> None:
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        for method in ("GET", "POST", "DELETE"):
            assert (await client.request(method, FAULTS)).status_code == 404
