"""Consecutive writes are grouped, and nothing is lost or silently dropped."""

import threading
from collections.abc import Sequence

import pytest
from vllm_image_core.errors import IndexUnavailable
from vllm_image_core.storage.grouped_writes import GroupedWrites


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_item_is_written_before_add_returns() -> None:
    written: list[Sequence[str]] = []
    GroupedWrites(written.append, seconds=60.0).add("a")
    assert written == [["a"]]


def test_those_that_follow_are_written_together_by_flush() -> None:
    written: list[Sequence[str]] = []
    writes = GroupedWrites(written.append, seconds=60.0)
    for item in "abcd":
        writes.add(item)
    assert written == [["a"]]
    writes.flush()
    writes.flush()
    assert written == [["a"], ["b", "c", "d"]]


def test_without_an_interval_each_is_written_at_once() -> None:
    written: list[Sequence[str]] = []
    writes = GroupedWrites(written.append, seconds=0.0)
    for item in "ab":
        writes.add(item)
    assert written == [["a"], ["b"]]


def test_after_the_interval_an_item_is_written_at_once_with_the_waiting_ones() -> None:
    written: list[Sequence[str]] = []
    clock = Clock()
    writes = GroupedWrites(written.append, seconds=60.0, clock=clock)
    writes.add("a")
    writes.add("b")
    clock.now += 60.0
    writes.add("c")
    assert written == [["a"], ["b", "c"]]


def test_an_item_that_must_not_wait_is_written_with_the_waiting_ones() -> None:
    written: list[Sequence[str]] = []
    writes = GroupedWrites(written.append, seconds=60.0)
    for item in "ab":
        writes.add(item)
    writes.add("c", now=True)
    assert written == [["a"], ["b", "c"]]


def test_a_thread_writes_what_waits_at_the_end_of_the_interval() -> None:
    written: list[Sequence[str]] = []
    both = threading.Event()

    def write(items: Sequence[str]) -> None:
        written.append(items)
        if len(written) == 2:
            both.set()

    writes = GroupedWrites(write, seconds=0.5)
    for item in "abc":
        writes.add(item)
    assert both.wait(30)
    assert written == [["a"], ["b", "c"]]


def test_after_a_failure_each_item_is_written_at_once_so_that_its_caller_learns_of_the_error() -> None:
    fails = False

    def write(items: Sequence[str]) -> None:
        if fails:
            raise IndexUnavailable("The index cannot be used.")

    writes = GroupedWrites(write, seconds=60.0)
    writes.add("a")
    fails = True
    writes.add("b")
    with pytest.raises(IndexUnavailable):
        writes.flush()
    with pytest.raises(IndexUnavailable):
        writes.add("c")
