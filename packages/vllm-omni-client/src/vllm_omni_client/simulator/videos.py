"""The jobs of POST /v1/videos: a server that draws takes them, and fails at once."""

import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vllm_omni_client.simulator.body import read_form, read_query
from vllm_omni_client.simulator.condition import Condition
from vllm_omni_client.simulator.other_requests import Film, FilmList
from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.release import Release
from vllm_omni_client.simulator.wish import check_model

_NO_VIDEO: Final = "No final video output stage found in video generation pipeline."
_DEFAULT_FPS: Final = 24.0

Job = Mapping[str, object]


class Videos:
    """The jobs since the server's start.

    Args:
        condition: Knows the served names.
        release: In whose words a request is refused.
    """

    def __init__(self, condition: Condition, release: Release) -> None:
        self._condition = condition
        self._release = release
        self._jobs: dict[str, Job] = {}

    async def create(self, request: Request) -> Response:
        """A job in the queue, as which it is shown once."""
        film = await self._film(request)
        queued = _queued(film, model=self._condition.names[0])
        name = f"video_gen_{uuid.uuid4().hex}"
        now = int(time.time())
        job = _known({**queued, "id": name, "created_at": now}, self._release)
        if self._release.makes_videos:
            self._jobs[name] = _completed(job, name, now)
            return JSONResponse(job)
        error = {"code": HTTPStatus.SERVICE_UNAVAILABLE.value, "message": _NO_VIDEO}
        failed = {"status": "failed", "completed_at": now, "error": error, "inference_time_s": 0.001}
        self._jobs[name] = {**job, **failed}
        return JSONResponse(job)

    async def create_now(self, request: Request) -> Response:
        """What the job would come to, waited for."""
        await self._film(request)
        if self._release.makes_videos:
            return Response(_STUB, media_type="video/mp4")
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, _NO_VIDEO)

    async def show_all(self, request: Request) -> Response:
        """The jobs, the youngest first unless the oldest is asked for."""
        query = read_query(request, FilmList)
        jobs = list(self._jobs.values())
        if query.order == "desc":
            jobs.reverse()
        if query.after is not None:
            names = [job["id"] for job in jobs]
            jobs = jobs[names.index(query.after) + 1 :] if query.after in names else []
        shown = jobs if query.limit is None else jobs[: query.limit]
        ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else _NO_ENDS
        return JSONResponse({**ends, "has_more": len(shown) < len(jobs), "data": shown, "object": "list"})

    async def show(self, request: Request) -> Response:
        """A job; its failure is the status."""
        job = self._job(request)
        ended = HTTPStatus.OK if job["status"] == "completed" else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(job, status_code=ended)

    async def content(self, request: Request) -> Response:
        """The video, where there is one."""
        job = self._job(request)
        if job["status"] == "completed":
            disposition = f'attachment; filename="{job["file_name"]}"'
            return Response(_STUB, media_type="video/mp4", headers={"Content-Disposition": disposition})
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Video generation failed. Check job status for error details.",
            kind="Unprocessable Entity",
        )

    async def delete(self, request: Request) -> Response:
        """Forget a job."""
        job = self._job(request)
        del self._jobs[str(job["id"])]
        return JSONResponse({"id": job["id"], "deleted": True, "object": "video.deleted"})

    async def _film(self, request: Request) -> Film:
        film = await read_form(request, Film)
        check_model(film.model, served=self._condition.names[0], release=self._release)
        return film

    def _job(self, request: Request) -> Job:
        job = self._jobs.get(request.path_params["video_id"])
        if job is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "Video not found")
        return job


_STUB: Final = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + b"\x00\x00\x00\x08free"
"""The head of a video, without frames: nobody looks at what a model of still images makes of one."""


def _known(job: Mapping[str, object], release: Release) -> dict[str, object]:
    return {name: value for name, value in job.items() if name not in release.video_lacks}


def _completed(job: Mapping[str, object], name: str, now: int) -> Job:
    """A job that ends as soon as it has begun."""
    return {
        **job,
        "status": "completed",
        "progress": 100,
        "completed_at": now,
        "file_name": f"{name}.mp4",
        "inference_time_s": 0.001,
        "stage_durations": {"queue_wait_ms": 0.1, "stage_0_gen_ms": 1.0},
        "peak_memory_mb": 1.0,
    }


_NO_ENDS: Final[Mapping[str, object]] = {"first_id": None, "last_id": None}


def _queued(film: Film, *, model: str) -> Job:
    fps = film.fps or _DEFAULT_FPS
    seconds = None if film.seconds is None else float(film.seconds)
    frames = int(seconds * fps) if film.num_frames is None and seconds is not None else film.num_frames
    lasting = seconds if frames is None or seconds is not None else frames / fps
    nothing = dict.fromkeys(("completed_at", "remixed_from_video_id", "error", "expires_at", "file_name"))
    return {
        "model": model,
        "prompt": film.prompt,
        "object": "video",
        "status": "queued",
        "size": film.size,
        "progress": 0,
        "seconds": film.seconds or "4",
        "quality": "default",
        **nothing,
        "media_type": "video/mp4",
        "inference_time_s": None,
        "fps": fps,
        "num_frames": frames,
        "duration_s": lasting,
        "metrics": None,
        "stage_durations": {},
        "peak_memory_mb": 0.0,
        "action": None,
    }
