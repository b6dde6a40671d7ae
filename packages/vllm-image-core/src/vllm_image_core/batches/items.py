"""Items: define the states and the outcomes of a batch's requests."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")

State = Literal["waiting", "running", "done", "failed", "cancelled"]
"""The state of an item. The last three are final."""


@dataclass(frozen=True, slots=True)
class Done(Generic[Item, Value]):
    """An item whose work returned a value. `index` counts from 0 in the order of the items."""

    index: int
    item: Item
    value: Value


@dataclass(frozen=True, slots=True)
class Failed(Generic[Item]):
    """An item that has failed."""

    index: int
    item: Item
    error: Exception


Outcome: TypeAlias = Done[Item, Value] | Failed[Item]
