"""The progress bar: where it is shown, and what it leaves behind."""

import errno
import io
import os
import re
from contextlib import redirect_stderr

import pytest
from vllm_image_mcp.cli.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ClosedTerminal(Terminal):
    """A terminal whose window was closed after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, text: str, /) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(text)


def test_a_terminal_shows_how_much_is_done_and_how_long_it_takes() -> None:
    with redirect_stderr(Terminal()) as terminal, ProgressBar("Images") as bar:
        bar.update(1, 4, "about 40 s left")
        bar.update(2, 4)
    assert " 25% |" in terminal.getvalue()
    assert "1/4, about 40 s left" in terminal.getvalue()
    assert "2/4" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # the line is empty again


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_shows_all_that_follows_the_bar(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    with redirect_stderr(Terminal()) as terminal, ProgressBar() as bar:
        bar.update(2, 30, "about 8 s left (measured)")
    assert "2/30, about 8 s left (measured)" in terminal.getvalue()


def test_underestimated_seconds_never_exceed_the_total() -> None:
    with redirect_stderr(Terminal()) as terminal, ProgressBar(timed=True) as bar:
        bar.update(9, 6, "1 s")
    assert "100% |" in terminal.getvalue()
    assert "9/6" not in terminal.getvalue()


def test_a_bar_of_seconds_never_goes_back() -> None:
    with redirect_stderr(Terminal()) as terminal, ProgressBar(timed=True) as bar:
        for seconds, total in ((1, 4), (2, 10), (3, None), (4, 5)):
            bar.update(seconds, total)
    shown = [int(percent) for percent in re.findall(r"(\d+)% \|", terminal.getvalue())]
    assert shown == sorted(shown)
    assert {25, 80} <= set(shown)


def test_an_unknown_total_shows_the_note() -> None:
    with redirect_stderr(Terminal()) as terminal, ProgressBar(timed=True) as bar:
        bar.update(3, None, "3 s")
    assert ", 3 s" in terminal.getvalue()


def test_a_line_is_printed_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stderr(Terminal()) as terminal, ProgressBar() as bar:
        bar.update(1, 4)
        bar.echo("fox.png")
        assert capsys.readouterr().out == "fox.png\n"
        assert terminal.getvalue().count("1/4") == 2


def test_nothing_is_shown_without_a_terminal_or_if_a_command_is_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressBar() as bar:
        bar.update(1, 4)
    assert (bar.is_shown, capsys.readouterr().err) == (False, "")
    with redirect_stderr(Terminal()) as terminal, ProgressBar(quiet=True) as bar:
        bar.update(1, 4)
    assert (bar.is_shown, terminal.getvalue()) == (False, "")


@pytest.mark.parametrize("writes", range(12))
def test_a_terminal_that_is_gone_stops_nothing(writes: int, capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stderr(ClosedTerminal(writes)), ProgressBar() as bar:
        for done in range(1, 4):
            bar.update(done, 4)
            bar.echo("fox.png")
            bar.clear()
    assert capsys.readouterr().out == "fox.png\n" * 3
