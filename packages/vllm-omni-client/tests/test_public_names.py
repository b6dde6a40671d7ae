"""The public names: these and no others, and wire types without a connection."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import vllm_omni_client

PUBLIC = [
    "AsyncOmniClient",
    "BadReply",
    "BadRequest",
    "CallReport",
    "Capabilities",
    "ConnectionLost",
    "EngineDead",
    "Exchange",
    "FailedAttempt",
    "GenerationMetrics",
    "ImageEditRequest",
    "ImageGenerationReply",
    "ImageGenerationRequest",
    "InvalidParameter",
    "Lora",
    "LoraNotLoaded",
    "ModelCard",
    "ModelChanged",
    "ModelList",
    "NotFound",
    "OmniClient",
    "OmniError",
    "OutOfGpuMemory",
    "PictureSize",
    "ReplyImage",
    "RequestTimeout",
    "SavedImage",
    "ServerBusy",
    "ServerError",
    "ServerMetrics",
    "ServerRefused",
    "ServerUnreachable",
    "Unauthorized",
    "UnsupportedParameter",
]


def test_these_are_the_public_names() -> None:
    assert vllm_omni_client.__all__ == PUBLIC
    assert dir(vllm_omni_client) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there_under_its_own_name(name: str) -> None:
    assert getattr(vllm_omni_client, name).__name__ == name


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Client'"):
        _ = vllm_omni_client.Client  # type: ignore[attr-defined]  # the point of the test


def test_no_two_public_classes_share_a_name() -> None:
    package = Path(vllm_omni_client.__file__).parent
    names = Counter(
        node.name
        for path in package.rglob("*.py")
        if "simulator" not in path.relative_to(package).parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize("name", ["generate_image", "edit_image"])
def test_both_clients_document_their_own_arguments(name: str) -> None:
    for client in (vllm_omni_client.AsyncOmniClient, vllm_omni_client.OmniClient):
        assert "Args:" in (vars(client)[name].__doc__ or "")


@pytest.mark.parametrize(
    "code",
    [
        "import vllm_omni_client",
        "import vllm_omni_client.errors",
        "import vllm_omni_client.models",
        "from vllm_omni_client import ImageGenerationRequest, OmniError, ServerMetrics",
        "import vllm_omni_client._protocol.endpoints, vllm_omni_client._protocol.retry",
    ],
)
def test_importing_the_wire_types_does_not_import_httpx(code: str) -> None:
    check = f"{code}; import sys; print([m for m in ('httpx', 'tenacity', 'anyio') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
