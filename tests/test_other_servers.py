"""Servers that are not a vLLM-Omni work as far as they can, and results say what may not have been read."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from other_servers import LocalAi, Sglang, StableDiffusionCpp, Standing, serving
from PIL import Image
from vllm_image_core import InvalidRequest, Studio
from vllm_omni_client import ModelChanged, OmniClient, UnsupportedParameter

UNPROVEN = (
    "Nothing indicates that this server is vLLM-Omni: seed, steps and guidance were sent, and may not "
    "have been read."
)


@pytest.fixture
def sglang() -> Iterator[Standing]:
    with serving(Sglang()) as standing:
        yield standing


@pytest.fixture
def sd_cpp() -> Iterator[Standing]:
    with serving(StableDiffusionCpp()) as standing:
        yield standing


@pytest.fixture
def local_ai() -> Iterator[Standing]:
    with serving(LocalAi()) as standing:
        yield standing


@pytest.fixture
def fox() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


async def test_sglang_gets_all_settings_and_its_results_need_no_note(
    sglang: Standing, tmp_path: Path
) -> None:
    async with Studio(sglang.url, output_dir=tmp_path) as studio:
        health = await studio.health()
        image = await studio.generate("a red fox", width=64, height=64, num_inference_steps=4, seed=7)
    assert (health.status, health.model) == ("healthy", "Qwen/Qwen-Image")
    [sent] = sglang.sent
    assert sent["response_format"] == "b64_json"
    assert (sent["seed"], sent["num_inference_steps"], sent["true_cfg_scale"]) == (7, 4, 5.0)
    assert UNPROVEN not in image.notes


def test_the_client_requests_base64_from_sglang_too(sglang: Standing) -> None:
    with OmniClient(sglang.url) as client:
        reply = client.generate_image("a red fox", size=(64, 64), seed=7)
        assert reply.unconfirmed_fields == ()
        with pytest.raises(UnsupportedParameter, match="flow_shift"):
            client.generate_image("a red fox", flow_shift=3.0)
    assert sglang.sent[0]["response_format"] == "b64_json"


async def test_stable_diffusion_cpp_generates_and_results_say_what_may_not_have_been_read(
    sd_cpp: Standing, tmp_path: Path
) -> None:
    async with Studio(sd_cpp.url, output_dir=tmp_path) as studio:
        health = await studio.health()
        first = await studio.generate("a red fox", width=64, height=64, seed=7)
        second = await studio.generate("a red fox", width=64, height=64, seed=8)
    assert (health.status, health.model) == ("healthy", "sd-cpp-local")
    assert UNPROVEN in first.notes
    assert any("the server may ignore the seed" in note for note in second.notes)


async def test_an_edit_on_an_unknown_model_is_tried_only_on_request(
    sd_cpp: Standing, tmp_path: Path, fox: bytes
) -> None:
    async with Studio(sd_cpp.url, output_dir=tmp_path) as studio:
        with pytest.raises(InvalidRequest) as caught:
            await studio.edit("make it night", fox)
        assert "assume_edits" in caught.value.next_step
    assert sd_cpp.sent == []
    async with Studio(sd_cpp.url, output_dir=tmp_path, assume_edits=True) as studio:
        image = await studio.edit("make it night", fox)
    assert image.path.is_file()
    assert sd_cpp.sent[0]["images"] == 1
    assert UNPROVEN in image.notes


def test_a_server_without_a_health_route_is_asked_again_after_a_failure(sd_cpp: Standing) -> None:
    sd_cpp.failures = 1
    with OmniClient(sd_cpp.url, jitter=lambda: 0.999) as client:
        assert client.health_check()
        reply = client.generate_image("a red fox", size="64x64", seed=7)
    assert reply.receipt is not None
    assert reply.receipt.attempts == 2
    assert reply.unconfirmed_fields == ("seed",)


async def test_of_several_models_the_first_with_a_profile_is_used(local_ai: Standing, tmp_path: Path) -> None:
    async with Studio(local_ai.url, output_dir=tmp_path) as studio:
        health, served = await studio.health(), await studio.model()
        image = await studio.generate("a red fox", width=64, height=64, seed=7)
    assert (health.status, health.model) == ("healthy", "flux.1-dev")
    assert served.profile.model == "black-forest-labs/FLUX.1-dev"
    assert served.others == ("llama-3.2-1b-instruct", "whisper-1", "dreamshaper")
    assert "Others: llama-3.2-1b-instruct, whisper-1, dreamshaper." in " ".join(served.warnings)
    assert local_ai.sent[0]["model"] == "flux.1-dev"
    assert UNPROVEN in image.notes


async def test_another_model_is_used_if_it_is_named(local_ai: Standing, tmp_path: Path) -> None:
    async with Studio(local_ai.url, output_dir=tmp_path, model="DreamShaper") as studio:
        assert (await studio.health()).model == "dreamshaper"
        assert (await studio.model()).others == ()
        await studio.generate("a red fox", width=64, height=64, seed=7)
    assert local_ai.sent[0]["model"] == "dreamshaper"


async def test_a_model_that_is_not_listed_is_an_error_that_names_the_listed_ones(
    local_ai: Standing, tmp_path: Path
) -> None:
    async with Studio(local_ai.url, output_dir=tmp_path, model="flux.2-dev") as studio:
        health = await studio.health()
        with pytest.raises(ModelChanged, match="it lists llama-3"):
            await studio.generate("a red fox", width=64, height=64)
    assert health.status == "unhealthy"
    assert isinstance(health.error, ModelChanged)
    assert local_ai.sent == []


async def test_gateways_in_a_fleet_use_the_named_model_as_well(
    local_ai: Standing, sd_cpp: Standing, tmp_path: Path
) -> None:
    with serving(LocalAi()) as second:
        servers = [local_ai.url, second.url, sd_cpp.url]
        async with Studio(servers, output_dir=tmp_path, model="dreamshaper") as studio:
            health = await studio.health()
            image = await studio.generate("a red fox", width=64, height=64, seed=7)
    assert [each.model for each in health.servers] == ["dreamshaper", "dreamshaper", None]
    assert image.server in {local_ai.url, second.url}
    assert sd_cpp.sent == []


def test_the_shell_names_a_model_and_says_how_to_choose_another(local_ai: Standing, tmp_path: Path) -> None:
    small = ("a red fox", "--width", "64", "--height", "64")
    run = shell("generate", *small, "--model", "dreamshaper", "--vllm-url", local_ai.url, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert local_ai.sent[-1]["model"] == "dreamshaper"
    assert UNPROVEN in run.stdout + run.stderr
    wrong = shell("generate", *small, "--model", "flux.2", "--vllm-url", local_ai.url, folder=tmp_path)
    assert wrong.returncode != 0
    assert "--model" in wrong.stderr


def test_the_doctor_looks_at_the_model_that_will_be_used(local_ai: Standing, tmp_path: Path) -> None:
    plain = shell("doctor", "--vllm-url", local_ai.url, folder=tmp_path)
    assert "flux.1-dev is loaded" in plain.stdout, plain.stderr
    assert "Nothing indicates that this server is vLLM-Omni" in plain.stdout
    named = shell("doctor", "--model", "dreamshaper", "--vllm-url", local_ai.url, folder=tmp_path)
    assert "dreamshaper is loaded" in named.stdout
    wrong = shell("doctor", "--model", "flux.2", "--vllm-url", local_ai.url, folder=tmp_path)
    assert "does not list the model flux.2" in wrong.stdout
    assert wrong.returncode != 0


def shell(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vllm_image_mcp", *arguments],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
