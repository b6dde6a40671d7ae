"""What a person sees of a value: a few lines of text, or HTML with thumbnails."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import PIL.Image
import pytest
from recorded_batches import requests
from type_hints import classes_in
from vllm_image_core import Picture, Studio
from vllm_image_core.display.card import Card, Displayed, time_text
from vllm_image_core.display.thumbnails import Thumbnail

if TYPE_CHECKING:
    from conftest import BatchServer

MOST_LINES = 8


class Written:
    """IPython's printer."""

    def __init__(self) -> None:
        self.shown = ""

    def text(self, obj: str, /) -> None:
        self.shown += obj


def text_of(value: object) -> str:
    assert isinstance(value, Displayed)
    written = Written()
    value._repr_pretty_(written, cycle=False)
    return written.shown


def test_everything_that_a_method_of_a_studio_returns_displays_itself() -> None:
    methods = [each for _, each in inspect.getmembers(Studio, inspect.isfunction)]
    methods = [each for each in methods if each.__name__[0] != "_"]
    methods = [each for each in methods if each.__name__ not in {"expansion", "more_like"}]
    assert methods
    for method in methods:
        for returned in classes_in(get_type_hints(method, localns={"Image": PIL.Image})["return"]):
            assert issubclass(returned, Displayed | Picture), (method, returned)


async def test_each_value_takes_3_to_8_lines_and_names_what_matters(
    batch_server: "BatchServer", tmp_path: Path
) -> None:
    async with batch_server.studio(tmp_path) as studio:
        image = await studio.generate("a red fox", width=64, height=64, seed=7)
        batch = await studio.batch(requests(12))
        before = text_of(studio.batch(requests(1)))
        await batch.wait()
        values = {
            image.path.name: image,
            "12 of 12 done": batch,
            str(tmp_path)[:40]: studio,
            "13 images, newest first": await studio.find(),
            "a red fox": (await studio.find("red")).pictures[0],
            "done, 12 of 12 images": await studio.find_batch(batch.id),
            f"{batch.id}": await studio.batches(),
            "FLUX.2-klein-4B": await studio.model(),
            "healthy": await studio.health(),
            "Estimated time": await studio.estimate(num_images=10),
            "GPU": await studio.gpu(),
            "1 server": studio.servers,
            "made with": await studio.recall(image.path),
        }
    for words, value in values.items():
        assert words in text_of(value)
        assert len(text_of(value).splitlines()) <= MOST_LINES, text_of(value)
        assert text_of(value) == str(value)
        assert isinstance(value, Displayed)
        assert value._repr_html_().startswith("<div")
        assert len(repr(value).splitlines()) == 1
        assert "object at 0x" not in repr(value)
    assert "not started" in before
    assert "await batch" in before


async def test_a_batch_and_a_page_show_thumbnails(batch_server: "BatchServer", tmp_path: Path) -> None:
    async with batch_server.studio(tmp_path) as studio:
        batch = await studio.batch(requests(3))
        await batch.wait()
        page = await studio.find()
        assert batch._repr_html_().count("<img ") == 3
        assert page._card().html().count("<img ") == 3
        page.pictures[0].path.unlink()
        assert page._card().html().count("<img ") == 2
        assert "no longer there" in page._card().html()


def test_a_card_escapes_untrusted_text(small_picture: Picture) -> None:
    hostile = '<script>"\x1b[31m\n'
    card = Card(
        title=hostile,
        facts={"prompt": hostile},
        notes=[hostile],
        columns=["prompt"],
        rows=[[hostile]],
        images=[Thumbnail(small_picture, hostile)],
    )
    assert "<script" not in card.html()
    assert "\x1b" not in card.html() + card.text()
    assert 'alt="&lt;script&gt;&quot;' in card.html()


def test_a_table_shows_its_first_rows_and_how_many_more_there_are() -> None:
    card = Card(title="rows", columns=["a", "b"], rows=[(number, None) for number in range(20)])
    assert card.text().splitlines() == ["rows", "  a", "  0", "  1", "  2", "  ... and 17 more"]
    assert "<td" in card.html()
    assert ">b</th>" not in card.html()
    assert "... and 8 more" in card.html()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (1.84, "1.8 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_time_is_written_as_people_say_it(seconds: float | None, text: str | None) -> None:
    assert time_text(seconds) == text
