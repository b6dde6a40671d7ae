"""Check the form of POST /v1/images/edits in the server's order and parse it into a request."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from PIL import Image

from vllm_omni_client.simulator.drawing.encoding import PictureFormat
from vllm_omni_client.simulator.engine.model_rules import ModelRules
from vllm_omni_client.simulator.http.edit_request import EditBody
from vllm_omni_client.simulator.http.generation_request import check_layers, check_lora, parse_size
from vllm_omni_client.simulator.http.http_error import HttpError
from vllm_omni_client.simulator.http.input_picture import open_images
from vllm_omni_client.simulator.http.parsed_request import (
    Adapter,
    ParsedRequest,
    check_model,
    check_size,
    failure,
)
from vllm_omni_client.simulator.http.release import Release

ROUTE = "Image edit"
_RESOLUTIONS = (640, 1024)
_BOT_TASKS = (None, "recaption", "think", "think_recaption", "vanilla")


async def parse(
    request: EditBody, rules: ModelRules, *, model: str, max_pixels: int | None, release: Release
) -> ParsedRequest:
    """Parse the form after making every check that the server makes, in the same order.

    Raises:
        HttpError: A check fails; the status and message are the server's.
    """
    check_model(request.model, served=model, release=release)
    _check_form(request, rules, release)
    try:
        converts = request.bot_task is not None or request.sys_type is not None  # to RGB, so it decodes them
        pictures = await open_images(request.inputs, load=converts)
        mask = await _open_one(request.mask_image)
        reference = await _open_one(request.reference_image, load=converts)
        adapter = _adapter(request.lora)
        width, height = _size(request, pictures[0], release)
        check_size(width, height, resolution=request.resolution, max_pixels=max_pixels, release=release)
        _check_task(request)
    except ValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, str(error)) from error
    except (OSError, SyntaxError, TypeError, OverflowError, RecursionError) as error:
        raise failure(ROUTE, error) from error
    return ParsedRequest(
        route=ROUTE,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        n=request.n,
        width=width,
        height=height,
        steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        true_cfg_scale=request.true_cfg_scale,
        seed=None if request.seed == 0 and release.zero_edit_seed_is_random else request.seed,
        generator_device=request.generator_device,
        adapter=adapter,
        pictures=pictures,
        mask=mask,
        reference=reference,
        strength=request.strength,
        layers=request.layers,
        resolution=request.resolution,
        output_format=_format(request),
        output_compression=request.output_compression,
        stage_metrics=bool(request.return_stage_metrics),
    )


def _check_form(request: EditBody, rules: ModelRules, release: Release) -> None:
    """Check what the server checks before it opens any image."""
    if request.response_format != "b64_json":
        raise HttpError(HTTPStatus.BAD_REQUEST, "Only response_format 'b64_json' is supported now.")
    if request.stream:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "stream=true is only supported for multi-stage image editing pipelines.",
        )
    given, most = len(request.inputs), rules.family.input_pictures
    if not given:
        # The phrase is spelled out, because newer Pythons have a different one for this status.
        raise HttpError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Field 'image' or 'url' is required",
            kind="Unprocessable Entity",
        )
    if release.limits_input_pictures and given > most:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "Received multiple input images. Only a single image is supported by this model."
            if most == 1
            else f"Received {given} input images. At most {most} images are supported by this model.",
        )


async def _open_one(source: object, *, load: bool = False) -> Image.Image | None:
    return None if source is None else (await open_images([source], load=load))[0]  # pyright: ignore[reportArgumentType] - a form field


def _adapter(text: str | None) -> Adapter | None:
    if text is None:
        return None
    try:
        lora: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError("Invalid LoRA JSON string") from error
    if not isinstance(lora, dict):
        raise ValueError("LoRA must be a JSON object")  # noqa: TRY004 - the server answers 400
    return check_lora(cast("Mapping[str, object]", lora))


def _size(request: EditBody, first: Image.Image, release: Release) -> tuple[int | None, int | None]:
    """Return the requested size: the first input image's, unless the request gives a size or resolution."""
    resolution, auto = request.resolution, request.size.lower() == "auto"
    if resolution is not None and resolution not in _RESOLUTIONS:
        raise ValueError(f"Invalid resolution {resolution}. Supported resolutions: {_RESOLUTIONS}.")
    check_layers(request.layers, release)
    if resolution is not None and not auto:
        raise ValueError(
            "Cannot specify both 'resolution' and 'size'. "
            "Use 'resolution' with size='auto', or use 'size' without 'resolution'."
        )
    if not auto:
        return parse_size(request.size)
    return first.size if resolution is None else (None, None)


def _check_task(request: EditBody) -> None:
    if request.sys_type is None and request.bot_task not in _BOT_TASKS:
        raise ValueError(f"Unknown bot_task {request.bot_task!r}. Choose from: {list(_BOT_TASKS)}")


def _format(request: EditBody) -> str:
    """Return the requested format if the server knows it, else PNG for a transparent image, else JPEG."""
    known = PictureFormat.spelling(request.output_format)
    transparent = (request.background or "auto").lower() == "transparent"
    return known or ("png" if transparent else "jpeg")
