"""The servers that the contract is checked on: simulators, or the real one whose URL is in OMNI_URL.

A real server may be started with any model and key (OMNI_API_KEY). It is asked for small images only.
"""

import os
from collections.abc import Callable, Iterator

import httpx
import pytest
from vllm_omni_client.simulator import SimulatorSettings
from vllm_omni_client.simulator.http.serving import serve_in_thread

REAL_URL = os.environ.get("OMNI_URL")
REAL_KEY = os.environ.get("OMNI_API_KEY")
MODELS = (
    "black-forest-labs/FLUX.2-klein-4B",
    "Qwen/Qwen-Image-2512",
    "Tongyi-MAI/Z-Image-Turbo",
)
SECONDS = 60.0

Ask = Callable[..., httpx.Response]


def _client(url: str, key: str | None) -> httpx.Client:
    headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return httpx.Client(base_url=url, headers=headers, timeout=SECONDS)


@pytest.fixture(scope="session", params=["real"] if REAL_URL else MODELS)
def server(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A connection to a server that answers at once: one for each kind of model, or the real one."""
    if REAL_URL:
        with _client(REAL_URL, REAL_KEY) as client:
            yield client
        return
    with serve_in_thread(SimulatorSettings(model=request.param)) as url, _client(url, None) as client:
        yield client


@pytest.fixture
def server_key() -> str | None:
    """The key of `server`; None if it needs none."""
    return REAL_KEY if REAL_URL else None


@pytest.fixture(scope="session")
def slow_url() -> Iterator[str]:
    """A server on which the request `slow` takes about half a second or more."""
    if REAL_URL:
        yield REAL_URL
        return
    with serve_in_thread(SimulatorSettings(speed=0.25)) as url:
        yield url


@pytest.fixture
def slow_headers() -> dict[str, str]:
    """What opens the server of `slow_url`."""
    return {"Authorization": f"Bearer {REAL_KEY}"} if REAL_KEY else {}


@pytest.fixture
def slow() -> dict[str, object]:
    """A request that keeps a server busy for a while."""
    return {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 200, "seed": 7}


@pytest.fixture(scope="session")
def key() -> str:
    """The key of the server behind `guarded`."""
    return REAL_KEY or "correct"


@pytest.fixture(scope="session")
def guarded(key: str) -> Iterator[httpx.Client]:
    """A connection without a key to a server that wants one and has two names."""
    if REAL_URL:
        if not REAL_KEY:
            pytest.skip("the real server has no key, or OMNI_API_KEY does not tell it")
        with _client(REAL_URL, None) as client:
            yield client
        return
    settings = SimulatorSettings(api_key=key, served_model_name=("first", "second"))
    with serve_in_thread(settings) as url, _client(url, None) as client:
        yield client


@pytest.fixture
def model_kind(server: httpx.Client) -> str:
    """Which rules apply to the server's model: klein, qwen, z-image or other."""
    root = str(server.get("/v1/models").json()["data"][0]["root"]).lower()
    return next((kind for kind in ("klein", "qwen", "z-image") if kind in root), "other")


@pytest.fixture
def ask(server: httpx.Client) -> Ask:
    """Ask for a small image, with some fields changed; a field of None is sent as null."""

    def ask(**fields: object) -> httpx.Response:
        small = {"prompt": "a red fox", "size": "64x64", "num_inference_steps": 3, "seed": 7}
        return server.post("/v1/images/generations", json=small | fields)

    return ask
