"""What happens to an image when its folder refuses it and nobody waits for it any longer."""

import asyncio
import gc
from typing import Any

import pytest
from vllm_image_core.errors import PictureNotSaved
from vllm_image_core.generation.job import save_guarded
from vllm_image_core.imaging.picture import Picture
from vllm_image_core.requests.generated_image import GeneratedImage


async def test_an_image_that_no_folder_takes_after_a_cancellation_is_logged_as_lost(
    small_picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    holding = asyncio.Event()
    unseen: list[dict[str, Any]] = []

    def refuse(*, spill: bool) -> GeneratedImage:
        raise PictureNotSaved(f"spill={spill}: another program has it open.", picture=small_picture)

    async def hold(_: PictureNotSaved) -> bool:
        holding.set()
        return await asyncio.Future()

    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    saving = asyncio.ensure_future(save_guarded(refuse, print, hold))
    await holding.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    del saving
    gc.collect()
    assert unseen == []
    assert caplog.messages == ["An image is lost: spill=True: another program has it open."]
