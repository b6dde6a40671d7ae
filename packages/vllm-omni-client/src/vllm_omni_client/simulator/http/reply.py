"""Build the reply with the generated images, as JSON or as a file."""

import base64
import time
import uuid
from collections.abc import Mapping, Sequence

from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.drawing.encoding import PictureFormat, archive
from vllm_omni_client.simulator.engine.engine import TaskResult
from vllm_omni_client.simulator.engine.job import EngineJob, Pictures
from vllm_omni_client.simulator.http.parsed_request import ParsedRequest
from vllm_omni_client.simulator.http.release import Release


def build_reply(
    parsed: ParsedRequest,
    job: EngineJob,
    result: TaskResult[Pictures],
    *,
    submit_seconds: float,
    release: Release,
) -> Response:
    """Build the reply, as JSON or as a file.

    Args:
        parsed: The request, which says how to send the images.
        job: The job that the engine ran.
        result: The job's result.
        submit_seconds: Time from the request's arrival until it entered the queue.
        release: The release whose fields to send.
    """
    if parsed.as_file:
        named = PictureFormat(name="png") if release.names_files_png else job.format
        return _file_reply(result.value, named)
    body: dict[str, object] = {
        "created": int(time.time()),
        "data": [_as_json(picture) for picture in result.value],
        "output_format": job.format.name if release.reports_format or parsed.pictures else None,
        "size": _size(parsed, job, release),
    }
    if release.reports_cot:
        body["cot_output"] = None
    if release.reports_metrics:
        has_metrics = release.reports_edit_metrics or not parsed.pictures
        body["metrics"] = _metrics(parsed, job, result, submit_seconds) if has_metrics else None
    return JSONResponse(body)


def _size(parsed: ParsedRequest, job: EngineJob, release: Release) -> str | None:
    """Return the size to report: newer releases give the images' size, older ones the request's or none."""
    if release.reported_size == "actual":
        return "x".join(map(str, job.size))
    if parsed.pictures:
        return parsed.requested_size or "auto"
    if release.reported_size == "written":
        return parsed.written_size
    return parsed.requested_size if release.reported_size == "requested" else None


def _metrics(
    parsed: ParsedRequest, job: EngineJob, result: TaskResult[Pictures], submit_seconds: float
) -> Mapping[str, object]:
    metrics: dict[str, object] = _stage_metrics(job, result) if parsed.stage_metrics else {}
    metrics["stage_durations"] = {
        "queue_wait_ms": submit_seconds * 1000,
        "stage_0_gen_ms": result.generation_seconds * 1000,
    }
    metrics["peak_memory_mb"] = result.peak_memory_mib
    return metrics


def _as_json(picture: bytes) -> Mapping[str, object]:
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


def _stage_metrics(job: EngineJob, result: TaskResult[Pictures]) -> dict[str, object]:
    """Return what `return_stage_metrics` adds; everything about audio and text is zero for an image."""
    milliseconds = result.generation_seconds * 1000
    width, height = job.size
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
        "denoise_step_latency_ms": milliseconds / max(1, job.steps),
        "output_unit_type": "image",
        "output_unit_count": len(job.subjects),
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
