"""Show a training in MLflow while it runs, as a child run; training never waits for it.

A thread of its own takes what training announces to MLflow. At the first failure it stops, says
so once, and `track` later logs what is missing from the files.
"""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tinybert.settings.reader import PARAMS, read_yaml
from tinybert.tracking.children import (
    FINISHED,
    HISTORY_TAG,
    TRAINING_TAG,
    find_training,
    records_folder,
    write_record,
)
from tinybert.tracking.display import source_tags
from tinybert.tracking.experiment import experiment_id
from tinybert.tracking.failures import explain, reason_of
from tinybert.tracking.histories import (
    ARGUMENTS,
    Curves,
    Points,
    frame_sha256,
    metric_name,
    points,
)
from tinybert.tracking.record import git_commit
from tinybert.tracking.store import open_store, require_server, store_uri
from tinybert.training.listeners import Ended, Event, Row, Started, listening

PROBE_SECONDS = 1.0
CLOSING_SECONDS = 3.0


@contextmanager
def shown(stage: str) -> Iterator[None]:
    """Show what the block trains, by the standard variables; at its end wait a few seconds."""
    profile = str(read_yaml(PARAMS).get("profile"))
    sender = Sender(stage, profile, store_uri(os.environ), records_folder(os.environ))
    with listening(sender):
        try:
            yield
        finally:
            sender.close()


class Sender:
    """A listener that sends one training's events to MLflow from a thread.

    Args:
        stage: The stage that trains.
        profile: The selected profile.
        uri: An MLflow store or server.
        records: Of `children.records_folder`; written whatever becomes of the server.
    """

    def __init__(self, stage: str, profile: str, uri: str, records: Path) -> None:
        self.stage, self.profile, self.uri, self.records = stage, profile, uri, records
        self.training_id = ""
        self._child: Curves | None = None
        self._child_of = ""  # the training that it shows
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take an event; return at once."""
        if isinstance(event, Started):
            self.training_id = event.training_id
        elif isinstance(event, Ended) and not event.point and event.history is not None:
            with suppress(Exception):  # a full disk must not cost the training
                write_record(self.records, frame_sha256(event.history), self.training_id)
        if self._thread.is_alive():
            self._events.put(event)

    def close(self) -> None:
        """Give the thread a few seconds to send what is left."""
        self._events.put(None)
        self._thread.join(CLOSING_SECONDS)

    def _send(self) -> None:
        try:
            while events := self._waiting():
                require_server(self.uri, PROBE_SECONDS)
                self._log([event for event in events if event is not None])
                if None in events:
                    return
        except Exception as error:  # whatever it is, training goes on
            reason = explain(self.uri, error) or reason_of(error)
            line = f"{self.stage}: no live curves in MLflow any more: {reason}"
            print(line, file=sys.stderr, flush=True)

    def _waiting(self) -> list[Event | None]:
        """Wait for an event; return it and those that came meanwhile."""
        events = [self._events.get()]
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def _log(self, events: list[Event]) -> None:
        rows: list[Row] = []
        for event in events:
            if isinstance(event, Row):
                rows.append(event)
                continue
            self._log_rows(rows)
            rows = []
            if isinstance(event, Started):
                self._start(event)
            elif not event.point or event.status != FINISHED:
                self._end(event)
        self._log_rows(rows)

    def _start(self, event: Started) -> None:
        client = self._child.client if self._child else open_store(self.uri, PROBE_SECONDS)
        if self._child is None or self._child_of != event.training_id:
            self._child = Curves(client, self._find_or_create(client, event))
            self._child_of = event.training_id
        from mlflow.entities import Param

        prefix = _prefix(event.point)
        params = [Param(prefix + name, str(value)) for name, value in event.settings.items()]
        client.log_batch(self._child.run_id, params=params)

    def _find_or_create(self, client: Any, event: Started) -> Any:
        experiment = experiment_id(client)
        run = find_training(client, experiment, self.stage, event.training_id)
        if run is not None:
            client.update_run(run.info.run_id, status="RUNNING")
            return run
        # Behind the stage's arguments a training that goes on from another says so: "then".
        names = zip(ARGUMENTS[self.stage], event.phase.split()[1:], strict=False)
        tags = {"stage": self.stage, "profile": self.profile, **dict(names)}
        tags |= {TRAINING_TAG: event.training_id}
        tags |= source_tags(git_commit(Path()), self.stage)
        return client.create_run(experiment, run_name=event.phase, tags=tags)

    def _log_rows(self, rows: list[Row]) -> None:
        found: Points = {}
        for row in rows:
            for column, value in row.values.items():
                name = metric_name(column)
                if name is not None:
                    curve = found.setdefault(_prefix(row.point) + name, [])
                    curve.append((row.step, float(value)))
        if found and self._child is not None:
            self._child.add(found)

    def _end(self, event: Ended) -> None:
        if self._child is None:
            return
        if event.history is not None:
            self._child.add(points(event.history))
            sha256 = frame_sha256(event.history)
            self._child.client.set_tag(self._child.run_id, HISTORY_TAG, sha256)
        self._child.client.set_terminated(self._child.run_id, event.status)


def _prefix(point: str) -> str:
    return f"{point}/" if point else ""
