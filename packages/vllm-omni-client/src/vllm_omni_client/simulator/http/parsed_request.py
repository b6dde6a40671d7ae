"""Define the parsed image request that both routes produce, and the checks that they share."""

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
    """A LoRA adapter, named by its path on the server."""

    path: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParsedRequest:
    """An image request that passed every check made before it is queued."""

    route: str
    """How the server's failure messages begin: "Image generation" or "Image edit"."""
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
    layers: int | None = None
    resolution: int | None = None
    written_size: str | None = None
    """The size as written in the request."""
    output_format: str
    output_compression: int = 100
    as_file: bool = False
    stage_metrics: bool = False
    nesting: int = 0
    """Nesting depth of `extra_params`, which the engine copies as they are."""

    @property
    def requested_size(self) -> str | None:
        """The size as "WIDTHxHEIGHT"; None if the model's default applies."""
        return None if self.width is None else f"{self.width}x{self.height}"

    def load(self) -> None:
        """Decode the input images.

        Raises:
            OSError: A file is truncated.
        """
        for image in (*self.pictures, self.mask, self.reference):
            if image is not None:
                image.load()

    def server_error(self, error: Exception, release: Release) -> HttpError:
        """Build the 500 reply for an error while generating images."""
        prefix: Literal["img_edit", "img_gen"] = "img_edit" if self.pictures else "img_gen"
        return failure(self.route, engine_message(error, prefix, release))


def engine_message(error: Exception, prefix: Literal["img_edit", "img_gen"], release: Release) -> object:
    """Return an error in the form in which the engine reports it to the routes.

    Args:
        error: What went wrong.
        prefix: Prefix of the route's request ids, which older releases report with the error.
        release: The release whose form to use.
    """
    match release.engine_errors:
        case "plain":
            return error
        case "with_stage":
            number = int(time.time()) if prefix == "img_edit" else secrets.token_hex(16)
            words = f"Diffusion generation failed: {error}"
            return {"request_id": f"{prefix}_{number}", "stage_id": 0, "error": words}
        case "with_id":
            return {"request_id": f"{prefix}-{secrets.token_hex(8)}", "error": str(error)}
        case "as_worker":
            advice = "please check the stack trace above for the root cause"
            return f"Worker failed with error '{error}', {advice}"


def failure(route: str, error: object) -> HttpError:
    """Build the 500 reply of a route, such as "Image edit"."""
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, f"{route} failed: {error}")


def check_model(requested: str | None, *, served: str, release: Release) -> None:
    """Check the model that a request names.

    Raises:
        HttpError: It is not the first served name, and the release checks that.
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
    """Check an image's size against the server's limit.

    Raises:
        HttpError: The image is larger.
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
