"""Who may run beside whom on one machine."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flows.graph import ALONE, TRAINING


class Room:
    """Let so many stages that use every core run at once; measurements of time run alone.

    Args:
        training_slots: How many stages of `TRAINING` at once.
    """

    def __init__(self, training_slots: int) -> None:
        self.training_slots = training_slots
        self._changed = threading.Condition()
        self._running: list[str] = []

    @contextmanager
    def place(self, stage: str) -> Iterator[None]:
        """Wait for a place, and keep it during the block."""
        name = stage.partition("@")[0]
        with self._changed:
            self._changed.wait_for(lambda: self._fits(name))
            self._running.append(name)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(name)
                self._changed.notify_all()

    def _fits(self, name: str) -> bool:
        if name in ALONE:
            return not self._running
        if any(running in ALONE for running in self._running):
            return False
        training = sum(running in TRAINING for running in self._running)
        return name not in TRAINING or training < self.training_slots

    def environment(self, stage: str) -> dict[str, str]:
        """Share the cores out: two trainings that each take all of them are slower than one."""
        if stage.partition("@")[0] not in TRAINING or self.training_slots == 1:
            return {}
        threads = max(1, (os.cpu_count() or 1) // self.training_slots)
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
