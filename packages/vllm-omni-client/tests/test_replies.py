"""An image of a reply is a value: it knows its format and size, saves itself and shows itself."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from vllm_omni_client.models import (
    GenerationMetrics,
    ImageGenerationReply,
    ImageGenerationRequest,
    ReplyImage,
)
from vllm_omni_client.receipt import CallReport

REQUEST = ImageGenerationRequest(prompt="a fox", seed=7)
RECEIPT = CallReport(requested=REQUEST, sent=REQUEST, ignored_fields=("layers",), warnings=("It is small.",))


def picture(kind: str = "PNG") -> ReplyImage:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, kind)
    return ReplyImage(bytes=buffer.getvalue())


@pytest.mark.parametrize(("kind", "name"), [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")])
def test_format_and_size_are_those_of_the_bytes(kind: str, name: str) -> None:
    image = picture(kind)
    assert (image.format, image.size, str(image.size)) == (name, (4, 3), "4x3")
    assert image.pil().size == (4, 3)
    assert image._repr_png_() == (image.bytes if name == "png" else None)
    assert image._repr_jpeg_() == (image.bytes if name == "jpeg" else None)


def test_a_list_of_invalid_items_is_refused_by_its_first_member() -> None:
    with pytest.raises(ValidationError) as caught:
        ImageGenerationReply.model_validate({"data": [1] * 100_000})
    assert caught.value.error_count() <= 2


def test_anything_but_an_image_has_neither() -> None:
    junk = ReplyImage(bytes=b"junk")
    assert (junk.format, junk.size, junk._repr_png_()) == (None, None, None)


def test_an_image_saves_itself_and_overwrites_only_when_asked_to(tmp_path: Path) -> None:
    image = picture()
    assert image.save(str(tmp_path / "fox.png")) == tmp_path / "fox.png"
    with pytest.raises(FileExistsError):
        image.save(tmp_path / "fox.png")
    assert picture("JPEG").save(tmp_path / "fox.png", overwrite=True).read_bytes()[:2] == b"\xff\xd8"


def test_without_pillow_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from vllm_omni_client import ReplyImage\n"
        "try: ReplyImage(bytes=b'x').pil()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "decoding images requires Pillow: pip install pillow\n"


def test_times_are_in_seconds_and_memory_is_in_mib() -> None:
    metrics = GenerationMetrics(stage_durations={"stage_0_gen_ms": 1500.0, "vae": 0.25}, peak_memory_mb=8.0)
    assert metrics.stage_seconds == {"stage_0_gen": 1.5, "vae": 0.25}
    assert metrics.peak_memory_mib == 8.0


def test_a_receipt_is_attached_and_is_not_part_of_what_the_server_sent() -> None:
    plain = ImageGenerationReply(data=(picture(),))
    assert (plain.receipt, plain.seed, plain.ignored_fields, plain.warnings) == (None, None, (), ())
    reply = plain.with_receipt(RECEIPT)
    assert (reply.receipt, reply.seed, reply.ignored_fields, reply.warnings) == (
        RECEIPT,
        7,
        ("layers",),
        ("It is small.",),
    )
    assert reply == plain
    assert hash(reply) == hash(plain)
    assert plain.receipt is None
    assert reply != ImageGenerationReply(data=(picture("JPEG"),))
    assert pickle.loads(pickle.dumps(reply)).receipt == RECEIPT  # noqa: S301  # our own bytes
    assert copy.deepcopy(reply).receipt == RECEIPT


def test_a_server_cannot_write_a_receipt() -> None:
    reply = ImageGenerationReply.model_validate({"data": [{"bytes": b"x"}], "receipt": {}, "_receipt": {}})
    assert reply.receipt is None
