"""The pictures on their way out: as JSON, or as a file."""

import base64
import time
import uuid
from collections.abc import Mapping, Sequence

from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.drawing.encoding import PictureFormat, archive
from vllm_omni_client.simulator.engine.engine import Finished
from vllm_omni_client.simulator.engine.job import EngineJob, Pictures
from vllm_omni_client.simulator.http.parsed_request import ParsedRequest
from vllm_omni_client.simulator.http.release import Release


def reply(
    parsed: ParsedRequest,
    made: EngineJob,
    finished: Finished[Pictures],
    *,
    submit_seconds: float,
    release: Release,
) -> Response:
    """The pictures, as JSON or as a file.

    Args:
        parsed: How they are to be sent.
        made: What was asked of the engine.
        finished: What came of it.
        submit_seconds: From the request's arrival until it entered the queue.
        release: Which fields there are.
    """
    if parsed.as_file:
        named = PictureFormat(name="png") if release.names_files_png else made.format
        return _file_reply(finished.value, named)
    body: dict[str, object] = {
        "created": int(time.time()),
        "data": [_as_json(picture) for picture in finished.value],
        "output_format": made.format.name if release.reports_format or parsed.pictures else None,
        "size": _size(parsed, made, release),
    }
    if release.reports_cot:
        body["cot_output"] = None
    if release.reports_metrics:
        told = release.reports_edit_metrics or not parsed.pictures
        body["metrics"] = _metrics(parsed, made, finished, submit_seconds) if told else None
    return JSONResponse(body)


def _size(parsed: ParsedRequest, made: EngineJob, release: Release) -> str | None:
    """Newer releases report the size of the pictures, older ones what was asked for or nothing."""
    if release.reported_size == "made":
        return "x".join(map(str, made.size))
    if parsed.pictures:
        return parsed.requested_size or "auto"
    if release.reported_size == "written":
        return parsed.written_size
    return parsed.requested_size if release.reported_size == "requested" else None


def _metrics(
    parsed: ParsedRequest, made: EngineJob, finished: Finished[Pictures], submit_seconds: float
) -> Mapping[str, object]:
    metrics: dict[str, object] = _stage_metrics(made, finished) if parsed.stage_metrics else {}
    metrics["stage_durations"] = {
        "queue_wait_ms": submit_seconds * 1000,
        "stage_0_gen_ms": finished.generation_seconds * 1000,
    }
    metrics["peak_memory_mb"] = finished.peak_memory_mib
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


def _stage_metrics(made: EngineJob, finished: Finished[Pictures]) -> dict[str, object]:
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
        "denoise_step_latency_ms": milliseconds / max(1, made.steps),
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
