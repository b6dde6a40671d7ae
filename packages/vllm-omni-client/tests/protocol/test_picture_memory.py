"""A reply that is read as it arrives is the reply that is read when it is complete."""

import base64
import json
import random
import struct
import tracemalloc
import zlib

import pytest
from vllm_omni_client._protocol import endpoints
from vllm_omni_client._protocol.picture_memory import PictureMemory
from vllm_omni_client.models import ImageGenerationReply, ImageGenerationRequest

REQUEST = ImageGenerationRequest(prompt="a fox", size="8x8", seed=1)


def png(colour: int = 0, *, unknown: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    lines = b"".join(b"\0" + bytes([colour]) * 24 for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"unKn", unknown) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b"")


def entry(data: bytes) -> dict[str, object]:
    return {"b64_json": base64.b64encode(data).decode(), "url": None, "revised_prompt": "a red fox"}


def body(*images: bytes, **more: object) -> bytes:
    return json.dumps({"created": 7, "data": [entry(image) for image in images], **more}).encode()


def plain(content: bytes) -> ImageGenerationReply:
    return ImageGenerationReply.model_validate_json(content)


def received(content: bytes, *, piece: int) -> tuple[bytes, ImageGenerationReply]:
    """What is left to read at the end, and the reply."""
    memory = PictureMemory(most_pixels=10_000, otherwise=plain)
    for start in range(0, len(content), piece):
        memory.feed(content[start : start + piece])
    left = memory.finish()
    return left, memory.decode(left)


@pytest.mark.parametrize("piece", [1, 7, 100, 100_000])
def test_the_usual_reply_is_read_as_it_arrives(piece: int) -> None:
    content = body(png(), size="8x8", metrics={"stage_durations": {"a": 1.5}, "peak_memory_mb": 2.5})
    left, reply = received(content, piece=piece)
    assert left == b""
    assert reply == plain(content)
    assert reply.data[0].revised_prompt == "a red fox"
    inspection = reply.data[0].inspection
    assert inspection is not None
    assert (inspection.format, str(inspection.size), inspection.flat_colour) == ("png", "8x8", "#000000")


@pytest.mark.parametrize("piece", [1, 100_000])
def test_a_bare_image_is_read_as_it_arrives(piece: int) -> None:
    left, reply = received(png(), piece=piece)
    assert left == b""
    assert (reply.data[0].bytes, reply.output_format, reply.size) == (png(), "png", "8x8")


OTHERS = {
    "several images": body(png(), png(9)),
    "an image with a damaged end": body(png()[:-1]),
    "an image that claims to be giant": body(png().replace(struct.pack(">II", 8, 8), b"\0\0\xff\xff" * 2)),
    "text that is not base64": body(png()).replace(b"A", b"!").replace(b'"!', b'"A'),
    "data after the end of the base64": body(png() + b"1").replace(b"==", b"==AAAA"),
    "a bare image that is damaged": png()[:60] + b"?" + png()[61:],
    "a bare image that is cut off": png()[:-5],
    "no image": body(),
    "another key of that name": json.dumps({"meta": entry(png()), "data": [entry(png())]}).encode(),
    "the image elsewhere": json.dumps({"b64_json": "AAAA", "data": [{"b64_json": "AAAA"}]}).encode(),
}


@pytest.mark.parametrize("piece", [1, 3, 7, 64, 100_000])
@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_any_other_reply_is_kept_and_read_when_it_is_complete(content: bytes, piece: int) -> None:
    memory = PictureMemory(most_pixels=10_000, otherwise=plain)
    for start in range(0, len(content), piece):
        memory.feed(content[start : start + piece])
    assert memory.finish() == content


def test_the_text_of_an_image_is_not_kept_in_addition_to_it() -> None:
    content = body(png(unknown=random.Random(0).randbytes(3_000_000)))
    memory = PictureMemory(most_pixels=10_000, otherwise=plain)
    chunks = [content[start : start + 65_536] for start in range(0, len(content), 65_536)]
    tracemalloc.start()
    for chunk in chunks[:30]:
        memory.feed(bytes(bytearray(chunk)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 30 * 65_536, "the image alone takes three quarters of its text"


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_json_that_ends_too_early_is_kept_too(cut: int) -> None:
    left, reply = body(png())[:-cut], None
    with pytest.raises(ValueError, match="EOF"):
        _, reply = received(left, piece=50)
    assert reply is None


def test_the_next_attempt_starts_over() -> None:
    memory = PictureMemory(most_pixels=10_000, otherwise=plain)
    memory.feed(body(png())[:60])
    memory.begin()
    memory.feed(body(png(9)))
    assert memory.decode(memory.finish()) == plain(body(png(9)))


def test_only_a_call_for_a_single_image_reads_it_that_way() -> None:
    assert isinstance(endpoints.generate(REQUEST).receiver, PictureMemory)
    assert endpoints.generate(REQUEST.model_copy(update={"n": 2})).receiver is None
    assert endpoints.generate(REQUEST.model_copy(update={"layers": 2})).receiver is None
