"""Records: what is read from a file."""

import io
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.picture import Picture, write_text
from vllm_image_core.imaging.size import Size
from vllm_image_core.requests.image_request import ImageRequest
from vllm_image_core.storage import record as record_module
from vllm_image_core.storage.folder import Folder
from vllm_image_core.storage.record import Record, read_record, record

FACTS = {
    "model": "qwen",
    "profile": "Qwen/Qwen-Image",
    "prompt": "a red fox",
    "negative_prompt": " ",
    "width": 99,
    "height": 99,
    "num_inference_steps": 50,
    "guidance_scale": 5.0,
    "seed": 42,
    "created": "2026-02-18T14:30:22+01:00",
    "key": "ab12",
    "seconds": 1.25,
    "batch": "batch_1",
    "tag": "winter",
}


def read(path: Path) -> Record | None:
    with Folder.existing(path.parent) as folder:
        return read_record(folder, path.name)


def test_a_file_records_how_its_image_was_made_and_its_header_its_size(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    path = put(tmp_path / "fox.png", **FACTS)
    assert read(path) == Record(
        path=path,
        bytes=path.stat().st_size,
        modified_ns=path.stat().st_mtime_ns,
        created=datetime(2026, 2, 18, 13, 30, 22, tzinfo=UTC),
        width=16,
        height=12,
        key="ab12",
        prompt="a red fox",
        negative_prompt=" ",
        model="qwen",
        seed=42,
        num_inference_steps=50,
        guidance_scale=5.0,
        seconds=1.25,
        batch="batch_1",
        tag="winter",
    )


def test_the_saved_record_is_the_one_that_is_read(put: Callable[..., Path], tmp_path: Path) -> None:
    path = put(tmp_path / "fox.png", **FACTS)
    assert record(path, path.stat(), Size(16, 12), FACTS) == read(path)


def test_a_record_becomes_a_request_that_makes_the_image_again(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    found = read(put(tmp_path / "fox.png", **FACTS))
    assert found is not None
    assert found.as_request() == ImageRequest(
        prompt="a red fox",
        negative_prompt=" ",
        width=16,
        height=12,
        num_inference_steps=50,
        guidance_scale=5.0,
        seed=42,
        tag="winter",
    )


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_without_facts_has_the_time_of_its_file_and_no_request(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"fox.{kind.lower()}"
    Image.new("RGB", (20, 10)).save(path, kind)
    os.utime(path, ns=(0, 1_700_000_000_999_999_999))
    found = read(path)
    assert found is not None
    assert found.created == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert (found.size, found.prompt, found.as_request()) == (Size(20, 10), None, None)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<html>", b"\xff\xd8\xff"])
def test_anything_but_an_image_has_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fox.png").write_bytes(content)
    assert read(tmp_path / "fox.png") is None


def test_a_link_a_folder_and_a_pipe_have_no_record_and_nothing_blocks(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    if sys.platform == "win32":
        pytest.skip("a POSIX system's links and pipes")
    put(tmp_path / "outside.png", **FACTS)
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    assert [read(folder / name) for name in ("link.png", "folder.png", "pipe.png")] == [None] * 3


HOSTILE = [
    "",
    "no JSON",
    "[]",
    '"text"',
    "null",
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"seed": ' + "9" * 10_000 + "}",
    '{"prompt": {}, "seed": "7", "created": 5, "model": [], "seconds": true, "key": null}',
    '{"seed": 1e999, "guidance_scale": NaN, "seconds": Infinity, "num_inference_steps": 7.5}',
    f'{{"seed": {2**64}, "seconds": {10**400}}}',
    '{"created": "0001-01-01T00:00:00+14:00"}',
    '{"created": "9999-12-31T23:59:59-14:00"}',
    '{"created": "0001-01-01T00:00:00"}',
    '{"created": "../../etc/passwd"}',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_metadata_gives_a_record_without_it(
    tmp_path: Path, small_picture: Picture, text: str
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(write_text(small_picture, {"vllm-image": text}).bytes)
    assert read(path) == record(path, path.stat(), Size(16, 12), {})


def test_texts_are_cut_and_made_storable(tmp_path: Path, put: Callable[..., Path]) -> None:
    found = read(put(tmp_path / "fox.png", prompt="x" * 500_000, tag="a\ud800b"))
    assert found is not None
    assert (found.prompt, found.tag) == ("x" * 100_000, "a\ufffdb")


def test_our_text_is_found_behind_a_lot_of_other_data(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("workflow", "x" * 500_000)
    texts.add_text("vllm-image", json.dumps(FACTS))
    Image.new("RGB", (8, 8)).save(tmp_path / "fox.png", pnginfo=texts)
    found = read(tmp_path / "fox.png")
    assert found is not None
    assert found.prompt == "a red fox"


def test_the_pixels_of_a_large_image_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.frombytes("RGB", (512, 512), os.urandom(3 * 512 * 512)).save(file, "PNG")
    large = write_text(Picture.check(file.getvalue()), {"vllm-image": json.dumps(FACTS)})
    (tmp_path / "fox.png").write_bytes(large.bytes)
    monkeypatch.setattr(record_module, "_MOST_BYTES", "reading more is an error")
    assert read(tmp_path / "fox.png") is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses that time")
def test_a_file_of_the_year_300000_has_a_record(tmp_path: Path, small_picture: Picture) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(small_picture.bytes)
    status = os.stat_result((0, 0, 0, 0, 0, 0, 7, 0, 0, 0), {"st_mtime_ns": 10**22})
    assert record(path, status, Size(16, 12), {}).created == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of each file are read."""
    found: list[int] = []
    facts_in = record_module.facts_in

    def counted(data: bytes) -> record_module.Facts:
        found.append(len(data))
        return facts_in(data)

    monkeypatch.setattr(record_module, "facts_in", counted)
    return found


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_only_the_start_of_an_image_of_another_program_is_read(
    suffix: str, tmp_path: Path, lengths: list[int]
) -> None:
    path = tmp_path / f"photograph.{suffix}"
    Image.effect_noise((600, 600), 90).convert("RGB").save(path, quality=95)
    found = read(path)
    assert found is not None
    assert (found.width, found.bytes > 65_536, lengths) == (600, True, [8_192])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("words", [3, 2_000, 10_000])
def test_a_prompt_of_any_length_is_read_from_a_large_image(suffix: str, words: int, tmp_path: Path) -> None:
    path, prompt = tmp_path / f"fox.{suffix}", "fox " * words
    Image.effect_noise((400, 400), 90).convert("RGB").save(path, quality=95)
    picture = Picture.check(path.read_bytes())
    packet = xmp.packet(xmp.Properties(json=json.dumps({"prompt": prompt})))
    texts = {"vllm-image": json.dumps({"prompt": prompt})} if suffix == "png" else {xmp.KEYWORD: packet}
    path.write_bytes(write_text(picture, texts).bytes)
    found = read(path)
    assert found is not None
    assert found.prompt == prompt
