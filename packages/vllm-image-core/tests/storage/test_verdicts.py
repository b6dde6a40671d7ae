"""Keeping, rejecting, rating and tagging images in their folder."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.storage.verdicts import Opinion, Verdict, Verdicts, current_path
from vllm_omni_client.imaging import rename_if_free

Put = Callable[..., Path]
TAKES_BACK: tuple[Verdict, ...] = ("keep", "clear")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_a_rejected_image_goes_into_the_bin_and_comes_back(tmp_path: Path, put: Put) -> None:
    verdicts, fox = Verdicts(tmp_path), put(tmp_path / "fox.png")
    content = fox.read_bytes()
    for verdict in TAKES_BACK:
        assert verdicts.decide(["fox.png"], verdict="reject") == (tmp_path / "rejected" / "fox.png",)
        assert (names(tmp_path), names(tmp_path / "rejected")) == ([], ["fox.png"])
        assert verdicts.decide(["fox.png"], verdict=verdict) == (fox,)
        assert fox.read_bytes() == content
    assert verdicts.opinions() == {"fox.png": Opinion()}


def test_opinions_are_stored_separately_and_seen_by_another_process(tmp_path: Path, put: Put) -> None:
    for name in ("fox.png", "owl.png", "elk.png"):
        put(tmp_path / name)
    Verdicts(tmp_path).decide(["fox.png", "owl.png"], verdict="keep")
    Verdicts(tmp_path).decide(["owl.png", "elk.png"], stars=4)
    Verdicts(tmp_path).decide(["elk.png"], stars=2, tag="hero")
    Verdicts(tmp_path).decide(["fox.png"], tag="")
    assert Verdicts(tmp_path).opinions() == {
        "fox.png": Opinion(kept=True, tag=""),
        "owl.png": Opinion(kept=True, stars=4),
        "elk.png": Opinion(stars=2, tag="hero"),
    }


def test_clearing_a_verdict_keeps_stars_and_tag(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "fox.png")
    verdicts = Verdicts(tmp_path)
    verdicts.decide(["fox.png"], verdict="keep", stars=3, tag="hero")
    verdicts.decide(["fox.png"], verdict="clear")
    assert verdicts.opinions() == {"fox.png": Opinion(stars=3, tag="hero")}
    verdicts.decide(["fox.png"], stars=0)
    assert verdicts.opinions() == {"fox.png": Opinion(tag="hero")}


def test_an_image_in_a_subfolder_keeps_its_place_in_the_bin(tmp_path: Path, put: Put) -> None:
    (tmp_path / "hero").mkdir()
    left = put(tmp_path / "hero" / "left.png")
    [rejected] = Verdicts(tmp_path).decide(["hero/left.png"], verdict="reject")
    assert (rejected, left.exists()) == (tmp_path / "rejected" / "hero" / "left.png", False)
    assert current_path(tmp_path, "hero/left.png") == rejected
    assert Verdicts(tmp_path).decide(["hero/left.png"], verdict="clear") == (left,)


@pytest.mark.parametrize(
    "name", ["", "none.png", "../fox.png", "/etc/passwd", ".vllm-image", "sub/fox.png", "rejected/fox.png"]
)
def test_an_image_outside_the_folder_is_refused_and_nothing_is_done(
    tmp_path: Path, put: Put, name: str
) -> None:
    put(tmp_path / "fox.png")
    with pytest.raises(InvalidRequest, match="is not an image"):
        Verdicts(tmp_path).decide(["fox.png", name], verdict="reject")
    assert names(tmp_path) == ["fox.png"]


def test_no_file_in_the_bin_is_replaced(tmp_path: Path, put: Put) -> None:
    verdicts = Verdicts(tmp_path)
    put(tmp_path / "fox.png")
    verdicts.decide(["fox.png"], verdict="reject")
    before = (tmp_path / "rejected" / "fox.png").read_bytes()
    put(tmp_path / "fox.png", prompt="another")
    with pytest.raises(CannotSave, match="cannot be moved"):
        verdicts.decide(["fox.png"], verdict="reject")
    assert (tmp_path / "rejected" / "fox.png").read_bytes() == before
    assert names(tmp_path) == ["fox.png"]


def test_an_image_that_a_scanner_holds_for_a_moment_is_moved(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "fox.png")
    tries = itertools.count()

    def scanned(source: Path, target: Path) -> bool:
        if next(tries) < 3:  # emulated: Windows renames no file that is open
            raise PermissionError(errno.EACCES, "it is being used by another process", str(source))
        return rename_if_free(source, target)

    monkeypatch.setattr("vllm_image_core.storage.verdicts.rename_if_free", scanned)
    Verdicts(tmp_path).decide(["fox.png"], verdict="reject")
    assert (names(tmp_path), names(tmp_path / "rejected")) == ([], ["fox.png"])


def test_values_are_checked(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "fox.png")
    with pytest.raises(InvalidRequest, match="stars: 6 is out of range"):
        Verdicts(tmp_path).decide(["fox.png"], stars=6)
    with pytest.raises(InvalidRequest, match="is not a tag"):
        Verdicts(tmp_path).decide(["fox.png"], tag="two\nlines")
    with pytest.raises(InvalidRequest, match="There is nothing to do"):
        Verdicts(tmp_path).decide(["fox.png"])
    with pytest.raises(InvalidRequest, match="'love' is not a verdict"):
        Verdicts(tmp_path).decide(["fox.png"], verdict="love")  # type: ignore[arg-type]  # unchecked
