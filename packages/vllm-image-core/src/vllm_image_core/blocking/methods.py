"""Derive blocking methods from asynchronous ones, with the same parameters, types and help."""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from vllm_image_core.blocking.loop_thread import LoopThread
from vllm_image_core.display.card import Card, Displayed

Wrapped = TypeVar("Wrapped", bound=Displayed)
Value = TypeVar("Value")
Parameters = ParamSpec("Parameters")


class Blocking(Displayed, Generic[Wrapped]):
    """A blocking object in front of an asynchronous one.

    Args:
        wrapped: The asynchronous object.
        loop: The event loop that it lives on.
    """

    def __init__(self, wrapped: Wrapped, loop: LoopThread) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def _iterate(self, iterator: AsyncIterator[Value]) -> Iterator[Value]:
        """Iterate over an asynchronous iterator."""
        while (found := self._loop.wait_for(_next(iterator))) is not None:
            yield found[0]

    def _card(self) -> Card:
        shown: Displayed = self._wrapped
        card = self._loop.call(shown._card)  # noqa: SLF001 - it shows what it wraps
        return replace(card, notes=[note.replace("await ", "") for note in card.notes])


def _parts(instance: Blocking[Wrapped]) -> tuple[LoopThread, Wrapped]:
    return instance._loop, instance._wrapped  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - ours


def waiting(
    source: Callable[Concatenate[Wrapped, Parameters], Coroutine[Any, Any, Value]],
) -> Callable[[Callable[..., object]], Callable[Concatenate[Blocking[Wrapped], Parameters], Value]]:
    """Turn a declared method into one that waits for the result of a coroutine method."""

    @functools.wraps(source)
    def wait(self: Blocking[Wrapped], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Value:
        loop, wrapped = _parts(self)
        return loop.wait_for(source(wrapped, *args, **kwargs))

    return lambda _declared: wait


def forwarded(
    source: Callable[Concatenate[Wrapped, Parameters], Value],
) -> Callable[[Callable[..., object]], Callable[Concatenate[Blocking[Wrapped], Parameters], Value]]:
    """Turn a declared method into one that calls a plain method on the event loop's thread."""

    @functools.wraps(source)
    def call(self: Blocking[Wrapped], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Value:
        loop, wrapped = _parts(self)
        return loop.call(lambda: source(wrapped, *args, **kwargs))

    return lambda _declared: call


class Attribute(Generic[Wrapped, Value]):
    """An attribute or property of the asynchronous object, read on its event loop's thread.

    Args:
        get: Reads it.
        doc: Its description.
    """

    def __init__(self, get: Callable[[Wrapped], Value], doc: str | None = None) -> None:
        self._get = get
        self.__doc__ = doc

    def __get__(self, instance: Blocking[Wrapped], owner: type[object]) -> Value:
        loop, wrapped = _parts(instance)
        return loop.call(lambda: self._get(wrapped))


def same_parameters(
    source: Callable[Concatenate[Any, Parameters], object],
) -> Callable[
    [Callable[Concatenate[Wrapped, ...], Value]], Callable[Concatenate[Wrapped, Parameters], Value]
]:
    """Give a method that forwards its arguments the parameters and the help of the method it forwards to."""

    def derive(
        function: Callable[Concatenate[Wrapped, ...], Value],
    ) -> Callable[Concatenate[Wrapped, Parameters], Value]:
        return functools.wraps(source)(function)  # pyright: ignore[reportReturnType] - the same parameters

    return derive


async def _next(iterator: AsyncIterator[Value]) -> tuple[Value] | None:
    try:
        return (await anext(iterator),)
    except StopAsyncIteration:
        return None
