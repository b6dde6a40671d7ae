"""Lines for `--json`: the same values, and nothing that could control a terminal."""

import json
import unicodedata

import pytest
from vllm_image_mcp.cli.json_line import json_line


@pytest.mark.parametrize("kind", ["Cc", "Cf", "Zl", "Zp", "Cs"])
def test_every_control_format_and_surrogate_character_is_an_escape(kind: str) -> None:
    unsafe = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) == kind]
    line = json_line({each: each for each in unsafe})
    assert list(json.loads(line)) == unsafe
    assert not set(unsafe) & set(line)


def test_text_in_any_script_stays_readable() -> None:
    assert json_line({"prompt": "雪中的\u3000红狐 🦊 für"}) == '{"prompt": "雪中的\u3000红狐 🦊 für"}'
