"""Edit an image inside a mask, then edit it again with the parameters recorded in its file."""

import asyncio
from dataclasses import replace

from PIL import Image, ImageDraw
from vllm_image_core import Studio


async def main() -> None:
    """Generate an image and replace its sky twice."""
    async with Studio("http://localhost:6655", output_dir="pictures") as studio:
        fox = await studio.generate(
            "a red fox in the snow, a grey sky", width=512, height=512, filename="fox"
        )
        sky = Image.new("L", (512, 512), "black")
        ImageDraw.Draw(sky).rectangle((0, 0, 511, 200), fill="white")

        starry = await studio.edit("a sky full of stars", fox, mask=sky, strength=0.9, seed=7)
        print(starry.receipt)

        recalled = await studio.recall(starry.path)
        rosy = await studio.make(replace(recalled.request, prompt="a rosy morning sky", images=fox, mask=sky))
        print(rosy.path)


asyncio.run(main())
