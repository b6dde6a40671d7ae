"""A picture made again from the file alone: all its parameters are in the PNG's text."""

import asyncio
import json
from pathlib import Path

from vllm_image_core import Picture, Studio
from vllm_image_core.imaging.picture import read_text


async def main() -> None:
    """Make a picture, read its file, and make it again."""
    async with Studio("http://localhost:6655", output_dir="pictures") as studio:
        first = await studio.generate("a red fox in the snow", width=512, height=512)
        again = await make_again(first.path, studio)
    same = first.picture.pil().tobytes() == again.pil().tobytes()
    print("the same pixels" if same else "other pixels: another server, version or GPU")


async def make_again(file: Path, studio: Studio) -> Picture:
    """The picture that a file describes."""
    data = await asyncio.to_thread(file.read_bytes)
    recipe = json.loads(read_text(data)["vllm-image"])
    wanted = ("prompt", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale", "seed")
    return (await studio.generate(**{name: recipe[name] for name in wanted})).picture


asyncio.run(main())
