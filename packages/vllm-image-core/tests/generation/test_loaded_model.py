"""The model that the servers have loaded: requested once, then followed."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from drawing_server import KLEIN, QWEN, Server, studio_of
from vllm_image_core.estimation.work import Work
from vllm_image_core.requests.image_request import ImageRequest
from vllm_omni_client.errors import BadRequest
from vllm_omni_client.models import ImageGenerationRequest


async def test_an_unknown_model_is_reported_in_the_log_and_with_the_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warning = (
        "Model 'acme/painter' is not in the known profiles. "
        "Using fallback defaults (steps=28, guidance=5.0). "
        "Generation may produce unexpected results."
    )
    studio = studio_of(Server("acme/painter"), tmp_path)
    with caplog.at_level(logging.WARNING):
        images = [await studio.generate("a red fox", width=64, height=64) for _ in range(2)]
    assert [warning in image.notes for image in images] == [True, True]
    assert [record.message for record in caplog.records] == [warning]


async def test_a_server_restarted_with_another_model_gets_the_settings_of_that_model(tmp_path: Path) -> None:
    server = Server(KLEIN)
    studio = studio_of(server, tmp_path)
    await studio.generate("a red fox", width=64, height=64)
    server.model = QWEN

    image = await studio.generate("a red fox", width=64, height=64, seed=7)

    assert image.model == QWEN
    assert [(sent.model, sent.num_inference_steps, sent.seed) for sent in server.requests] == [
        (KLEIN, 4, 42),
        (KLEIN, 4, 7),
        (QWEN, 50, 7),
    ]


async def test_what_the_server_refuses_twice_is_an_error(tmp_path: Path) -> None:
    def refuse(_: ImageGenerationRequest) -> bytes:
        raise BadRequest("Requested image size exceeds the maximum", status=400)

    server = Server(draw=refuse)
    with pytest.raises(BadRequest):
        await studio_of(server, tmp_path).generate("a red fox")
    assert len(server.requests) == 1


async def test_the_version_of_the_server_is_requested_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(Server):
        async def get_version(self) -> str:
            asked.append("version")
            return "0.30.0"

    studio = studio_of(Counting(), tmp_path)
    for seed in range(3):
        await studio.generate("a red fox", width=64, height=64, seed=seed)
    assert asked == ["version"]


async def test_the_work_of_a_request_is_known_once_the_server_has_reported_its_model(tmp_path: Path) -> None:
    studio = studio_of(Server(model=QWEN), tmp_path)
    request = ImageRequest(prompt="a fox", width=512, height=512, num_inference_steps=20)
    assert await studio._loaded.work(request) is None
    await studio.check(request)
    for _ in range(2):
        assert await studio._loaded.work(request) == Work(megapixels=0.262144, forwards=40)
        assert await studio._loaded.work(replace(request, guidance_scale=1.0)) == Work(
            megapixels=0.262144, forwards=20
        )


async def test_a_request_that_was_checked_for_another_model_is_resolved_again(tmp_path: Path) -> None:
    server = Server(KLEIN)
    studio = studio_of(server, tmp_path)
    checked = await studio._generator.check(ImageRequest(prompt="a red fox", width=64, height=64))
    server.model = QWEN
    await studio.model()

    image = await studio._generator.generate(checked)

    assert (image.model, image.request.num_inference_steps, image.seed) == (QWEN, 50, checked.resolved.seed)
    assert [sent.model for sent in server.requests] == [QWEN]
