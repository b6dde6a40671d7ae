"""Generate an image for each prompt and print each result as it completes; a failure stops nothing."""

import asyncio

from vllm_image_core import Done, Failed, ImageRequest, Studio

PROMPTS = ("a red fox in the snow", "a lighthouse at dusk", "a bowl of lemons")


async def main() -> None:
    """Generate the images, two at a time."""
    requests = [ImageRequest(prompt=prompt, width=512, height=512) for prompt in PROMPTS]
    async with (
        Studio("http://localhost:6655", output_dir="pictures") as studio,
        await studio.batch(requests, max_concurrent=2) as batch,
    ):
        async for outcome in batch:
            match outcome:
                case Done(item=request, value=image):
                    print(f"{request.prompt}: {image.path}, seed {image.seed}, {image.seconds:.1f} s")
                case Failed(item=request, error=error):
                    print(f"{request.prompt}: {error}")


asyncio.run(main())
