"""Generate an image again from its file alone: the PNG's text holds all its parameters."""

import asyncio
import json
from pathlib import Path

from vllm_image_core import Picture, Studio
from vllm_image_core.imaging.picture import read_text


async def main() -> None:
    """Generate an image, read its file, and generate it again."""
    async with Studio("http://localhost:6655", output_dir="pictures") as studio:
        first = await studio.generate("a red fox in the snow", width=512, height=512)
        again = await make_again(first.path, studio)
    same = first.picture.pil().tobytes() == again.pil().tobytes()
    print(
        "The pixels are the same."
        if same
        else "The pixels differ: the server, its version or the GPU changed."
    )


async def make_again(file: Path, studio: Studio) -> Picture:
    """Generate the image that a file describes."""
    data = await asyncio.to_thread(file.read_bytes)
    recipe = json.loads(read_text(data)["vllm-image"])
    wanted = ("prompt", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale", "seed")
    return (await studio.generate(**{name: recipe[name] for name in wanted})).picture


asyncio.run(main())
