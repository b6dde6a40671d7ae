"""Keeping, rejecting and rating images, in the folder and by a studio."""

import errno
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vllm_image_core.errors import CannotSave, InvalidRequest
from vllm_image_core.requests.generated_image import GeneratedImage
from vllm_image_core.storage import verdicts
from vllm_image_core.storage.verdicts import Verdict, Verdicts
from vllm_omni_client.imaging import rename_if_free

if TYPE_CHECKING:
    from conftest import BatchServer

Put = Callable[..., Path]
TAKES_BACK: tuple[Verdict, ...] = ("keep", "clear")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def test_a_rejected_image_goes_into_the_bin_and_comes_back(tmp_path: Path, put: Put) -> None:
    decisions, fox = Verdicts(tmp_path), put(tmp_path / "fox.png")
    content = fox.read_bytes()
    for verdict in TAKES_BACK:
        assert decisions.decide(["fox.png"], verdict="reject") == (tmp_path / "rejected" / "fox.png",)
        assert (names(tmp_path), names(tmp_path / "rejected")) == ([], ["fox.png"])
        assert decisions.decide(["fox.png"], verdict=verdict) == (fox,)
        assert fox.read_bytes() == content
    assert decisions.kept_names() == frozenset()


def test_verdicts_and_stars_are_stored_apart_and_seen_by_another_process(tmp_path: Path, put: Put) -> None:
    for name in ("fox.png", "owl.png", "elk.png"):
        put(tmp_path / name)
    Verdicts(tmp_path).decide(["fox.png", "owl.png"], verdict="keep")
    Verdicts(tmp_path).decide(["owl.png", "elk.png"], stars=4)
    Verdicts(tmp_path).decide(["elk.png"], stars=2)
    decisions = Verdicts(tmp_path)
    assert decisions.kept_names() == {"fox.png", "owl.png"}
    assert decisions.rated(3) == {"owl.png"}
    assert decisions.rated(1) == {"owl.png", "elk.png"}


@pytest.mark.parametrize("name", ["", "none.png", "../fox.png", "/etc/passwd", ".vllm-image", "sub/fox.png"])
def test_what_is_not_in_the_folder_is_refused_and_nothing_is_done(
    tmp_path: Path, put: Put, name: str
) -> None:
    put(tmp_path / "fox.png")
    with pytest.raises(InvalidRequest, match="is not an image"):
        Verdicts(tmp_path).decide(["fox.png", name], verdict="reject")
    assert names(tmp_path) == ["fox.png"]


def test_no_file_in_the_bin_is_replaced(tmp_path: Path, put: Put) -> None:
    decisions = Verdicts(tmp_path)
    put(tmp_path / "fox.png")
    decisions.decide(["fox.png"], verdict="reject")
    before = (tmp_path / "rejected" / "fox.png").read_bytes()
    put(tmp_path / "fox.png", prompt="another")
    with pytest.raises(CannotSave, match="cannot be moved"):
        decisions.decide(["fox.png"], verdict="reject")
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

    monkeypatch.setattr(verdicts, "rename_if_free", scanned)
    Verdicts(tmp_path).decide(["fox.png"], verdict="reject")
    assert (names(tmp_path), names(tmp_path / "rejected")) == ([], ["fox.png"])


def test_values_are_checked(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "fox.png")
    with pytest.raises(InvalidRequest, match="stars: 6 is out of range"):
        Verdicts(tmp_path).decide(["fox.png"], stars=6)
    with pytest.raises(InvalidRequest, match="There is nothing to do"):
        Verdicts(tmp_path).decide(["fox.png"])
    with pytest.raises(InvalidRequest, match="'love' is not a verdict"):
        Verdicts(tmp_path).decide(["fox.png"], verdict="love")  # type: ignore[arg-type]  # unchecked


async def test_images_of_a_batch_are_kept_by_number_found_and_not_made_again(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = await studio.batch("a fox", count=6, width=64, height=64)
        await batch.wait()
        kept = await studio.rate(batch.id, indexes=[2, 5], verdict="keep", stars=5)
        [rejected] = await studio.rate(batch.id, indexes=[0], verdict="reject")
        assert {*kept} == {record.path for record in (await studio.find(kept=True)).pictures}
        assert {*kept} == {record.path for record in (await studio.find(stars=4, kept=True)).pictures}
        assert len((await studio.find()).pictures) == 5
        assert (await studio.find_batch(batch.id)).items[0].path == rejected
    async with batch_server.studio(tmp_path) as studio:
        again = await studio.resume(batch.id)
        await again.wait()
        assert again.images[0].path == rejected
        assert len(batch_server.sent) == 6


async def test_the_best_of_a_batch_are_kept_by_a_score(batch_server: "BatchServer", tmp_path: Path) -> None:
    def score(image: GeneratedImage) -> float:
        return -abs(image.seed - 12)

    async with batch_server.studio(tmp_path) as studio:
        batch = studio.batch("a fox", count=20, seeds=[1], width=64, height=64)
        best = await studio.keep_best(batch, score, most=3, reject_others=True)
        assert best[0].seed == 12
        assert {image.seed for image in best} == {11, 12, 13}
        assert {record.seed for record in (await studio.find()).pictures} == {11, 12, 13}
    assert len(names(tmp_path / "rejected")) == 17
