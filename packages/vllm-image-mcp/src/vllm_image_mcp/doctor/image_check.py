"""Generate one real image in one step, in a temporary folder, to check the complete path."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vllm_image_core.errors import ImageError
from vllm_image_core.imaging.flat_colour import flat_colour
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.studio import Studio
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.doctor.finding import Finding
from vllm_image_mcp.error_messages import next_step

_PROMPT: Final = "a red circle on a white background"


async def check_image(
    create: Callable[[Path], Studio], *, timer: Callable[[], float] = time.monotonic
) -> Finding:
    """Generate an image with one step at the model's default size; it is not kept.

    Args:
        create: Returns a studio that saves in a folder.
        timer: Returns seconds.
    """
    with TemporaryDirectory(prefix="vllm-image-doctor-", ignore_cleanup_errors=True) as folder:
        async with create(Path(folder)) as studio:
            subject = studio.server_url
            started = timer()
            try:
                image = await studio.generate(_PROMPT, num_inference_steps=1, seed=1, filename="doctor")
            except (ImageError, OmniError) as error:
                return Finding(
                    check="image",
                    status="failed",
                    subject=subject,
                    detail=error.message,
                    fix=next_step(error),
                )
            seconds = timer() - started
            colour = flat_colour(Picture.check(image.path.read_bytes()))
    if colour is not None:
        return Finding(
            check="image",
            status="failed",
            subject=subject,
            detail=f"The image is only one colour, {colour}: the model failed without an error.",
            fix="See the server's log; restart it with another dtype or attention backend.",
        )
    return Finding(
        check="image",
        status="ok",
        subject=subject,
        detail=f"One image of {image.request.width}x{image.request.height} in 1 step took {seconds:.1f} s.",
    )
