"""All servers of a folder share one secret, which only its owner can read."""

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from vllm_image_mcp.server_key import server_key


def test_every_server_of_a_folder_derives_the_same_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = {key.derive("links") for key in threads.map(server_key, [tmp_path] * 32)}
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / ".vllm-image").iterdir()] == ["server.key"]


def test_each_purpose_and_each_folder_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, other = server_key(tmp_path / "one"), server_key(tmp_path / "other")
    assert len({one.derive("links"), one.derive("state"), other.derive("links")}) == 3
    assert len(one.derive("links")) == 32


def test_a_file_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / ".vllm-image" / "server.key"
    file.parent.mkdir()
    file.write_bytes(b"short")
    assert server_key(tmp_path).derive("links") == server_key(tmp_path).derive("links")
    assert len(file.read_bytes()) == 32


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    server_key(tmp_path)
    assert stat.S_IMODE((tmp_path / ".vllm-image" / "server.key").stat().st_mode) == 0o600


def test_a_server_whose_folder_cannot_be_used_has_a_secret_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".vllm-image").write_text("a file")
    one, other = server_key(tmp_path), server_key(tmp_path)
    assert len(one.derive("links")) == 32
    assert one.derive("links") != other.derive("links")
    assert "server.key cannot be used: " in caplog.messages[0]
    assert "Links to images stop working when this server ends." in caplog.messages[0]
