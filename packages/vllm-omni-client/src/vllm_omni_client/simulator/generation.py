"""POST /v1/images/generations: what a request asks for, made into work for the engine and into a reply."""

import base64
import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.drawing import Subject, draw
from vllm_omni_client.simulator.encoding import PictureFormat, archive
from vllm_omni_client.simulator.engine import Finished, Work
from vllm_omni_client.simulator.generation_request import (
    ImageGenerationRequest,
    ResponseFormat,
    check_lora,
    parse_size,
)
from vllm_omni_client.simulator.model_rules import DEFAULT_STEPS, ModelRules, WorkerError, check_device
from vllm_omni_client.simulator.refusal import Refusal

Pictures = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a request comes to on this model."""

    subjects: tuple[Subject, ...]
    format: PictureFormat
    output_compression: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of each picture in pixels."""
        return self.subjects[0].width, self.subjects[0].height

    @property
    def steps(self) -> int:
        """The denoising steps that are run."""
        return self.subjects[0].steps

    def pictures(self) -> Pictures:
        """Draw and encode: some ten milliseconds of CPU for a megapixel."""
        return tuple(
            self.format.encoded(draw(subject), output_compression=self.output_compression)
            for subject in self.subjects
        )

    def work(self, rules: ModelRules) -> Work[Pictures]:
        """The order as the engine takes it."""
        first = self.subjects[0]
        pixels, n = first.width * first.height, len(self.subjects)
        guided = first.guidance is not None
        return Work(
            pixels=pixels * n,
            seconds=rules.seconds(pixels=pixels, steps=first.steps, guided=guided, n=n),
            wave=(first.width, first.height, first.steps, first.guidance and first.guidance.scale, n),
            produce=self.pictures,
        )


def check(
    request: ImageGenerationRequest, *, model: str, max_pixels: int | None
) -> tuple[int | None, int | None]:
    """The requested width and height, after every check that the server makes before it queues a request.

    Raises:
        Refusal: With the server's status and message.
    """
    if request.model is not None and request.model != model:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            f"Model mismatch: request specifies '{request.model}' but server is running '{model}'.",
        )
    try:
        if request.lora is not None:
            check_lora(request.lora)
        size = parse_size(request.size) if request.size is not None else (None, None)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
    except (TypeError, OverflowError) as error:
        raise generation_failed(error) from error
    _check_pixels(size, max_pixels)
    return size


def _check_pixels(size: tuple[int | None, int | None], max_pixels: int | None) -> None:
    width, height = size
    if width is None or height is None or max_pixels is None or width * height <= max_pixels:
        return
    raise Refusal(
        HTTPStatus.BAD_REQUEST,
        f"Requested image size {width}x{height} exceeds the maximum allowed size of {max_pixels} pixels. "
        "You can reduce the requested size or increase the server's --max-generated-image-size limit.",
    )


def order(
    request: ImageGenerationRequest, rules: ModelRules, *, width: int | None, height: int | None
) -> Order:
    """What the model makes of the request: of the fields that it reads, and of no other.

    Raises:
        WorkerError: The model cannot do it.
    """
    if request.lora is not None:
        path = check_lora(request.lora)
        raise WorkerError(f"[Errno 2] No such file or directory: '{path}/adapter_config.json'")
    if request.generator_device is not None:
        check_device(request.generator_device)
    prompt = rules.prompt(request.prompt)
    guidance = rules.guidance(
        guidance_scale=request.guidance_scale,
        true_cfg_scale=request.true_cfg_scale,
        negative_prompt=request.negative_prompt,
    )
    width, height = rules.size(width, height)
    seed = secrets.randbelow(2**32) if request.seed is None else request.seed
    subjects = tuple(
        Subject(
            prompt=prompt,
            guidance=guidance,
            width=width,
            height=height,
            steps=request.num_inference_steps or DEFAULT_STEPS,
            seed=seed,
            place=None if request.n == 1 else index,
        )
        for index in range(request.n)
    )
    picture_format = PictureFormat.chosen(request.output_format)
    return Order(subjects=subjects, format=picture_format, output_compression=request.output_compression)


def generation_failed(error: Exception) -> Refusal:
    """The reply of 500 for whatever goes wrong in the making of pictures."""
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Image generation failed: {error}")


def reply(
    request: ImageGenerationRequest, made: Order, finished: Finished[Pictures], *, submit_seconds: float
) -> Response:
    """The pictures, as JSON or as a file.

    Args:
        request: How they are to be sent.
        made: What was asked of the engine.
        finished: What came of it.
        submit_seconds: From the request's arrival until it entered the queue.
    """
    if request.response_format is ResponseFormat.FILE:
        return _file_reply(finished.value, made.format)
    metrics: dict[str, object] = _stage_metrics(made, finished) if request.return_stage_metrics else {}
    metrics["stage_durations"] = {
        "queue_wait_ms": submit_seconds * 1000,
        "stage_0_gen_ms": finished.generation_seconds * 1000,
    }
    metrics["peak_memory_mb"] = finished.peak_memory_mib
    return JSONResponse(
        {
            "created": int(time.time()),
            "data": [_shown(picture) for picture in finished.value],
            "output_format": made.format.name,
            "size": "x".join(map(str, made.size)),
            "cot_output": None,
            "metrics": metrics,
        }
    )


def _shown(picture: bytes) -> Mapping[str, object]:
    return {"b64_json": base64.b64encode(picture).decode(), "url": None, "revised_prompt": None}


def _file_reply(pictures: Sequence[bytes], picture_format: PictureFormat) -> Response:
    if len(pictures) == 1:
        content, media_type = pictures[0], picture_format.media_type
        name = f"image_{uuid.uuid4().hex[:8]}.{picture_format.name}"
    else:
        content, media_type = archive(pictures, extension=picture_format.name), "application/zip"
        name = f"images_{uuid.uuid4().hex[:8]}.zip"
    disposition = f'attachment; filename="{name}"'
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})


def _stage_metrics(made: Order, finished: Finished[Pictures]) -> dict[str, object]:
    """What `return_stage_metrics` adds; all that is about sound and text is zero for a picture."""
    milliseconds = finished.generation_seconds * 1000
    width, height = made.size
    stage: dict[str, object] = {
        "stage_id": 0,
        "final_output_type": "image",
        "finish_reason": None,
        "num_tokens_in": 0,
        "num_tokens_out": 0,
        "stage_gen_time_ms": milliseconds,
        "postprocess_time_ms": 0.0,
        "audio_frames": 0,
        "audio_sample_rate": 0,
        "audio_duration_s": 0.0,
        "image_pixels": width * height,
        "denoise_step_latency_ms": milliseconds / made.steps,
        "output_unit_type": "image",
        "output_unit_count": len(made.subjects),
        "serving_time_to_first_output_ms": milliseconds,
        "image_time_to_first_output_ms": milliseconds,
        "time_per_output_unit_ms": 0.0,
        "inter_output_latency_ms": 0.0,
        "inter_output_latencies_ms": [],
        "vllm_ttft_ms": 0.0,
        "vllm_tpot_ms": 0.0,
        "vllm_itl_ms": 0.0,
        "vllm_itls_ms": [],
        "stage_name": "diffusion",
    }
    return {
        "stage_metrics": {"0": stage},
        "stage_id": 0,
        "final_output_type": "image",
        "num_tokens_in": 0,
        "num_tokens_out": 0,
    }
