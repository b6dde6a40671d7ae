import socket
import sys
from dataclasses import dataclass, field

import pytest
from vllm_image_core.estimation.gpu import Gpu
from vllm_image_mcp.nvml import is_this_machine, local_gpu

GIB = 1024**3
HERE = "http://localhost:6655"


class DriverError(Exception):
    pass


@dataclass
class Card:
    """Memory in bytes."""

    total: int
    free: int


@dataclass
class Library:
    """A double of pynvml: it fails where it is told to."""

    cards: list[Card] = field(default_factory=list[Card])
    name: str | bytes = "NVIDIA GeForce RTX 5090"
    failing: str = ""
    calls: list[str] = field(default_factory=list[str])
    NVMLError: type[Exception] = DriverError

    def _called(self, function: str) -> None:
        self.calls.append(function)
        if function == self.failing:
            raise DriverError(function)

    def nvmlInit(self) -> None:  # noqa: N802 - NVIDIA's name
        self._called("init")

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVIDIA's name
        self._called("shutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVIDIA's name
        self._called("count")
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802 - NVIDIA's name
        self._called("handle")
        return self.cards[index]

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> Card:  # noqa: N802 - NVIDIA's name
        self._called("memory")
        assert isinstance(handle, Card)
        return handle

    def nvmlDeviceGetName(self, handle: object) -> str | bytes:  # noqa: N802 - NVIDIA's name
        self._called("name")
        return self.name


@pytest.mark.parametrize("name", ["NVIDIA GeForce RTX 5090", b"NVIDIA GeForce RTX 5090"])
def test_the_card_of_this_machine_is_described(name: str | bytes) -> None:
    library = Library([Card(total=32 * GIB, free=17 * GIB)], name=name)
    assert local_gpu(HERE, library) == Gpu(
        name="NVIDIA GeForce RTX 5090",
        total_vram_gb=32.0,
        free_vram_gb=17.0,
        source="NVML, the GPU of this machine",
    )
    assert library.calls[-1] == "shutdown"


def test_of_several_cards_the_first_is_described_with_a_note() -> None:
    library = Library([Card(total=80 * GIB, free=GIB), Card(total=24 * GIB, free=GIB)])
    gpu = local_gpu(HERE, library)
    assert gpu is not None
    assert (gpu.total_vram_gb, gpu.source) == (80.0, "NVML, the first of 2 GPUs of this machine")


def test_a_machine_without_a_card_describes_none() -> None:
    assert local_gpu(HERE, Library()) is None


@pytest.mark.parametrize("function", ["init", "count", "handle", "memory", "name", "shutdown"])
def test_a_driver_that_fails_describes_no_card(function: str) -> None:
    assert local_gpu(HERE, Library([Card(total=GIB, free=GIB)], failing=function)) is None


def test_the_library_is_left_in_its_original_state_if_the_driver_fails() -> None:
    library = Library([Card(total=GIB, free=GIB)], failing="memory")
    local_gpu(HERE, library)
    assert (library.calls.count("init"), library.calls.count("shutdown")) == (1, 1)


def test_a_server_elsewhere_has_another_card() -> None:
    library = Library([Card(total=GIB, free=GIB)])
    assert local_gpu("http://192.168.1.50:6655", library) is None
    assert library.calls == []


def test_the_real_library_answers_or_says_that_there_is_no_card() -> None:
    gpu = local_gpu(HERE)
    assert gpu is None or (gpu.total_vram_gb or 0) > 0


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:6655",
        "http://LOCALHOST",
        "http://127.0.0.1:6655",
        "http://127.1.2.3",
        "http://[::1]:6655",
        "http://0.0.0.0:6655",
        f"http://{socket.gethostname()}:6655",
    ],
)
def test_loopback_and_the_name_of_the_machine_are_this_machine(url: str) -> None:
    assert is_this_machine(url)


@pytest.mark.parametrize(
    "url", ["http://192.168.1.50:6655", "http://gpu.example", "http://[2001:db8::1]", "http://localhost.evil"]
)
def test_others_are_not(url: str) -> None:
    assert not is_this_machine(url)


def test_without_a_driver_the_library_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("vllm_image_mcp.nvml.ctypes.CDLL", no_library)
    monkeypatch.setattr("vllm_image_mcp.nvml.sys.platform", "linux")
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import would fail
    assert local_gpu(HERE) is None


def test_on_a_mac_there_is_no_such_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_image_mcp.nvml.sys.platform", "darwin")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert local_gpu(HERE) is None


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_with_a_driver_the_library_is_asked(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    library = Library([Card(total=32 * GIB, free=30 * GIB)])
    monkeypatch.setattr("vllm_image_mcp.nvml.ctypes.CDLL", str)
    monkeypatch.setattr("vllm_image_mcp.nvml.sys.platform", platform)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    gpu = local_gpu(HERE)
    assert gpu is not None
    assert gpu.total_vram_gb == 32
