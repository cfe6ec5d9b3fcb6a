"""What training tells while it trains, to whoever listens; this file knows nobody who does.

A listener is called in the training loop, so it must return at once.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on from a checkpoint.

    Attributes:
        training_id: The same for a training that was cut off and goes on.
        phase: The stage's name and arguments.
        point: The point of a grid; empty where there is none.
        settings: The schedule.
    """

    training_id: str
    phase: str
    point: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What was measured since the row before: loss, terms, learning rate, tokens per second."""

    point: str
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Ended:
    """Training ended; a grid has ended when this comes without a point.

    Attributes:
        point: As in `Started`.
        history: What becomes the stage's CSV file; of a grid, the winner's.
        status: Whether it came to its end.
    """

    point: str
    history: pd.DataFrame | None
    status: Status = "FINISHED"


Event = Started | Row | Ended
Listener = Callable[[Event], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear what is announced in the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(event: Event) -> None:
    """Tell every listener; of several processes that train together, only the first one tells."""
    if os.environ.get("RANK", "0") == "0":
        for listener in _listeners:
            listener(event)


@contextmanager
def announced(started: Started) -> Iterator[None]:
    """Announce that training starts, and that it ended if the block raises."""
    announce(started)
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        announce(Ended(started.point, None, "KILLED" if stopped else "FAILED"))
        raise
