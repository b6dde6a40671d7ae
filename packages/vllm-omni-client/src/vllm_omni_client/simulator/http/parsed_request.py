"""What a request asks for, checked and in one shape, wherever it came in."""

import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from PIL import Image

from vllm_omni_client.simulator.http.http_error import HttpError
from vllm_omni_client.simulator.http.release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter, by the path on the server under which it lies."""

    path: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParsedRequest:
    """A request for pictures that passed every check made before it is queued."""

    route: str
    """As the server's messages of failure begin: "Image generation" or "Image edit"."""
    prompt: str
    negative_prompt: str | None = None
    n: int = 1
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    seed: int | None = None
    generator_device: str | None = None
    adapter: Adapter | None = None
    pictures: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None
    reference: Image.Image | None = None
    strength: float | None = None
    written_size: str | None = None
    """The size as the request has it."""
    output_format: str
    output_compression: int = 100
    as_file: bool = False
    stage_metrics: bool = False
    nesting: int = 0
    """How deep the parameters are nested that the engine copies as they are."""

    @property
    def requested_size(self) -> str | None:
        """As "WIDTHxHEIGHT"; None where the model's default was left to decide."""
        return None if self.width is None else f"{self.width}x{self.height}"

    def load(self) -> None:
        """Decode the input images.

        Raises:
            OSError: A file ends too early.
        """
        for image in (*self.pictures, self.mask, self.reference):
            if image is not None:
                image.load()

    def server_error(self, error: Exception, release: Release) -> HttpError:
        """The reply of 500 for whatever goes wrong in the making of images."""
        prefix: Literal["img_edit", "img_gen"] = "img_edit" if self.pictures else "img_gen"
        return failure(self.route, engine_message(error, prefix, release))


def engine_message(error: Exception, prefix: Literal["img_edit", "img_gen"], release: Release) -> object:
    """An error as the engine tells it to the routes: older ones together with the request's id.

    Args:
        error: What went wrong.
        prefix: How the ids of the route's requests begin.
        release: Whose engine it is.
    """
    match release.engine_errors:
        case "plain":
            return error
        case "of_stage":
            number = int(time.time()) if prefix == "img_edit" else secrets.token_hex(16)
            words = f"Diffusion generation failed: {error}"
            return {"request_id": f"{prefix}_{number}", "stage_id": 0, "error": words}
        case "with_id":
            return {"request_id": f"{prefix}-{secrets.token_hex(8)}", "error": str(error)}
        case "of_worker":
            advice = "please check the stack trace above for the root cause"
            return f"Worker failed with error '{error}', {advice}"


def failure(route: str, error: object) -> HttpError:
    """The reply of 500 of a route, such as "Image edit"."""
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, f"{route} failed: {error}")


def check_model(requested: str | None, *, served: str, release: Release) -> None:
    """Whether a request may name this model.

    Raises:
        Refusal: It names another one than the first served, and the release minds.
    """
    if requested is not None and requested != served and release.refuses_other_models:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            f"Model mismatch: request specifies '{requested}' but server is running '{served}'.",
        )


def check_size(
    width: int | None,
    height: int | None,
    *,
    resolution: int | None = None,
    max_pixels: int | None,
    release: Release,
) -> None:
    """Whether a picture is within the server's limit.

    Raises:
        Refusal: It is larger.
    """
    if width is None or height is None:
        if resolution is None:
            return
        pixels, what = resolution**2, f"resolution {resolution} (max {resolution}x{resolution} pixels)"
    else:
        pixels, what = width * height, f"image size {width}x{height}"
    if max_pixels is None or pixels <= max_pixels:
        return
    advice = (
        " You can reduce the requested size or increase the server's --max-generated-image-size limit."
        if release.advises_on_size_limit
        else ""
    )
    raise HttpError(
        HTTPStatus.BAD_REQUEST,
        f"Requested {what} exceeds the maximum allowed size of {max_pixels} pixels.{advice}",
    )
