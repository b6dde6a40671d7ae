"""Images in the terminal: which terminals get them, and by which escape sequences."""

import base64
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image
from vllm_image_mcp.cli.terminal_image import show_in_terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.effect_noise((800, 400), 60).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMUX", "TERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)


def shown_in_terminal(image: Path) -> str:
    with redirect_stdout(Terminal()) as terminal:
        show_in_terminal(image)
    return terminal.getvalue()


def size_of(data: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        assert shown.format == "PNG"
        return shown.size


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "xterm-kitty"), ("KITTY_WINDOW_ID", "1"), ("TERM", "xterm-ghostty")]
)
def test_kitty_gets_a_small_png_in_chunks(
    image: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    chunks = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", shown_in_terminal(image))
    assert chunks[0][0] == "a=T,f=100,q=2,m=1"
    assert {keys for keys, _ in chunks[1:-1]} <= {"m=1"}
    assert chunks[-1][0] == "m=0"
    assert all(len(data) <= 4096 for _, data in chunks)
    assert size_of("".join(data for _, data in chunks)) == (384, 192)


@pytest.mark.parametrize(
    ("name", "value"), [("TERM_PROGRAM", "iTerm.app"), ("TERM_PROGRAM", "WezTerm"), ("LC_TERMINAL", "iTerm2")]
)
def test_iterm_gets_it_in_one_sequence(
    image: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    found = re.fullmatch(
        r"\033\]1337;File=inline=1;preserveAspectRatio=1:([^\a]*)\a\n", shown_in_terminal(image)
    )
    assert found is not None
    assert size_of(found[1]) == (384, 192)


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "xterm-256color"},
        {"TERM": "xterm-kitty", "TMUX": "socket"},
        {"TERM": "screen", "KITTY_WINDOW_ID": "1"},
    ],
)
def test_other_terminals_get_nothing(
    image: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert shown_in_terminal(image) == ""


def test_a_pipe_gets_nothing(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    show_in_terminal(image)
    assert capsys.readouterr().out == ""
