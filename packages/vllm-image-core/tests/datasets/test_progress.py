"""Progress counts rows and says how long the rest will take."""

from vllm_image_core.datasets.image_row import ImageRow, RowStatus
from vllm_image_core.datasets.progress import ProgressCounter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def row(status: RowStatus) -> ImageRow:
    return ImageRow(status=status)


def test_the_time_left_follows_from_the_latest_images() -> None:
    clock = Clock()
    counter = ProgressCounter(100, timer=clock)
    counter.skip(50)
    for clock.now in (2.0, 4.0, 6.0, 8.0, 10.0):
        counter.count(row("done"))

    progress = counter.progress

    assert progress.eta.seconds == 45 * 2.0
    assert str(progress) == "55 of 100 rows, 50 existed, about 2 min left (measured)"


def test_existing_images_say_nothing_about_the_speed() -> None:
    counter = ProgressCounter(10, timer=Clock())
    counter.count(row("reused"))
    counter.count(None)
    counter.count(row("done"), new=False)

    progress = counter.progress

    assert (progress.done, progress.reused, progress.skipped, progress.ended_count) == (0, 1, 2, 3)
    assert progress.eta.seconds is None


def test_at_the_end_no_time_is_left() -> None:
    counter = ProgressCounter(1, timer=Clock())
    counter.count(row("failed"))

    assert counter.progress.eta.seconds == 0
    assert str(counter.progress) == "1 of 1 rows, 1 failed, took less than 1 s"


def test_a_source_of_unknown_length_has_no_estimate() -> None:
    counter = ProgressCounter(None, timer=Clock())

    assert str(counter.progress) == "0 rows, time left unknown (the number of rows is not known)"
