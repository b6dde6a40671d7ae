"""What a request asks for, checked and in one shape, wherever it came in."""

from dataclasses import dataclass
from http import HTTPStatus

from PIL import Image

from vllm_omni_client.simulator.refusal import Refusal
from vllm_omni_client.simulator.release import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter, by the path on the server under which it lies."""

    path: str
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wish:
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

    def failed(self, error: Exception) -> Refusal:
        """The reply of 500 for whatever goes wrong in the making of pictures."""
        return failure(self.route, error)


def failure(route: str, error: Exception) -> Refusal:
    """The reply of 500 of a route, such as "Image edit"."""
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"{route} failed: {error}")


def check_model(requested: str | None, *, served: str, release: Release) -> None:
    """Whether a request may name this model.

    Raises:
        Refusal: It names another one than the first served, and the release minds.
    """
    if requested is not None and requested != served and release.refuses_other_models:
        raise Refusal(
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
    raise Refusal(
        HTTPStatus.BAD_REQUEST,
        f"Requested {what} exceeds the maximum allowed size of {max_pixels} pixels.{advice}",
    )
