"""Trainings are seen in MLflow while they run, and never wait for it."""

import itertools
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from stages import TRAINING
from tests.fixtures.mlflow_server import free_port, kill, start_server
from tests.fixtures.tracked import client_of
from tests.fixtures.training import (
    SCHEDULE,
    KilledError,
    fine_tuning,
    rows_of,
    run_in,
    same,
    weights_of,
)
from tests.training.test_training import tiny_classifier
from tinybert.distillation.distillation import Distillation
from tinybert.tracking.children import HISTORY_TAG, PARENT_TAG, adopt
from tinybert.tracking.experiment import experiment_id
from tinybert.tracking.histories import ARGUMENTS, History, frame_sha256
from tinybert.tracking.live import CLOSING_SECONDS, Sender
from tinybert.tracking.record import Record
from tinybert.training.grid import Point, best_of_grid, schedule_name
from tinybert.training.listeners import Ended, Row, Started, announce, listening
from tinybert.training.run import Run
from tinybert.training.training import train


def run_of(folder: Path, training_id: str = "") -> Run:
    """A run whose checkpoint folder is named like nobody else's, since tests share a store."""
    own = folder / (training_id or uuid.uuid4().hex[:16])
    return replace(run_in(folder), phase="general_distill small", checkpoints=own)


def sender(uri: str, folder: Path) -> Sender:
    return Sender("general_distill", "demo", uri, folder / "records")


def child_of(uri: str, how: Run):
    client = client_of(uri)
    query = f"tags.training_id = '{how.checkpoints.name}'"
    found = client.search_runs([experiment_id(client)], query)
    assert len(found) <= 1
    return found[0] if found else None


def seen_with(uri: str, how: Run, metric: str):
    """Wait until a training is seen with a metric; return its run."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        run = child_of(uri, how)
        if run is not None and metric in run.data.metrics:
            return run
        time.sleep(0.05)
    raise AssertionError("nobody saw it")


def curve(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    found = client_of(uri).get_metric_history(run_id, name)
    return sorted((metric.step, metric.value) for metric in found)


class Waiting(Distillation):
    """Calls a function in the middle of training."""

    step, steps, when_there = 18, 0, None

    def forward(self, **batch):
        self.steps += 1
        if self.steps == self.step:
            self.when_there()
        return super().forward(**batch)


def waiting(when_there) -> Waiting:
    model = Waiting(tiny_classifier(), {"label": 1.0})
    model.when_there = when_there
    return model


def train_live(uri: str, folder: Path, how: Run, model: Distillation):
    """Train before a listener, as a stage does; return the history and the listener's."""
    live = sender(uri, folder)
    with listening(live):
        try:
            history, _ = train(model, rows_of(), 0, SCHEDULE, how)
        finally:
            live.close()
    return history


def test_the_stages_that_train_are_those_whose_trainings_are_logged():
    assert set(TRAINING) == set(ARGUMENTS)


def test_a_training_is_seen_while_it_runs_and_ends_with_its_whole_history(store, tmp_path):
    how, seen = run_of(tmp_path), []
    look = waiting(lambda: seen.append(seen_with(store, how, "loss/label")))
    history = train_live(store, tmp_path, how, look)
    assert seen[0].info.status == "RUNNING"
    child = child_of(store, how)
    assert child.info.run_name == "general_distill small" and child.info.status == "FINISHED"
    tags = {name: child.data.tags[name] for name in ("stage", "system", "profile")}
    assert tags == {"stage": "general_distill", "system": "small", "profile": "demo"}
    assert child.data.tags[HISTORY_TAG] == frame_sha256(history)
    assert child.data.params["learning_rate"] == "0.005"
    for column, name in (("loss", "loss/total"), ("loss/label", "loss/label")):
        logged = curve(store, child.info.run_id, name)
        assert logged == list(zip(history["step"], history[column], strict=True))
    assert len(curve(store, child.info.run_id, "learning_rate")) == len(history)
    speeds = curve(store, child.info.run_id, "tokens_per_second")
    assert len(speeds) == len(history) and all(speed > 0 for _, speed in speeds)


def test_a_training_that_goes_on_from_another_has_a_run_and_curves_of_its_own(store, tmp_path):
    first, loss = run_of(tmp_path), {1: 0.9, 2: 0.1}
    after = replace(run_of(tmp_path), phase=f"{first.phase} then")
    live = sender(store, tmp_path)
    for how in (first, after):
        live(Started(how.checkpoints.name, how.phase, "", {"learning_rate": how is first}))
        history = pd.DataFrame({"step": [1, 2], "loss": [loss[how is first or 2], 0.5]})
        live(Ended("", history))
    live.close()
    found = [child_of(store, how) for how in (first, after)]
    assert [each.info.run_name for each in found] == [first.phase, after.phase]
    assert [curve(store, each.info.run_id, "loss/total")[0][1] for each in found] == [0.9, 0.1]
    assert {each.data.tags["system"] for each in found} == {"small"}


def test_tokens_are_counted_without_padding(tmp_path):
    rows, heard = rows_of(num_rows=16), []

    class Slow(Distillation):
        def forward(self, **batch):
            time.sleep(0.1)  # so that the clock here and the one in training agree well enough
            return super().forward(**batch)

    def hear(event):
        heard.append((time.monotonic(), event))

    # Every step takes all 16 rows of 5 to 12 tokens, which are padded to 12.
    whole = SCHEDULE.model_copy(update={"batch_size": 16, "num_epochs": 5.0})
    with listening(hear):
        train(Slow(tiny_classifier(), {"label": 1.0}), rows, 0, whole, run_of(tmp_path))
    measured = [(at, event.values) for at, event in heard if isinstance(event, Row)]
    assert len(measured) == 5
    for (before, _), (after, values) in itertools.pairwise(measured):
        tokens = values["tokens_per_second"] * (after - before)
        assert tokens == pytest.approx(int(rows.lengths.sum()), rel=0.15)


def test_a_training_that_was_killed_goes_on_in_its_child_run_with_each_step_once(store, tmp_path):
    how = run_of(tmp_path)

    def die():
        raise KilledError

    with pytest.raises(KilledError):
        train_live(store, tmp_path, how, waiting(die))
    first = child_of(store, how)
    assert first.info.status == "FAILED"
    # It died at step 18, after a row at 16; the checkpoint at 15 makes it log step 16 again.
    steps = [step for step, _ in curve(store, first.info.run_id, "loss/total")]
    assert steps[-1] == 16
    history = train_live(store, tmp_path, how, fine_tuning())
    again = child_of(store, how)
    assert again.info.run_id == first.info.run_id and again.info.status == "FINISHED"
    for name in ("loss/total", "learning_rate", "tokens_per_second"):
        steps = [step for step, _ in curve(store, first.info.run_id, name)]
        assert steps == list(history["step"])


def test_a_grid_is_one_child_run_with_its_points_apart_and_the_winners_curves(store, tmp_path):
    how = run_of(tmp_path)
    slow = SCHEDULE.model_copy(update={"learning_rate": 1e-3})
    scores = iter([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])  # the second point wins
    live = sender(store, tmp_path)
    with listening(live):
        _, history, _ = best_of_grid(
            [Point(schedule_name(each), each, fine_tuning) for each in (slow, SCHEDULE)],
            rows_of(),
            lambda student: lambda: {"accuracy": next(scores)},
            how,
        )
        live.close()
    child = child_of(store, how)
    run_id = child.info.run_id
    winners = list(zip(history["step"], history["loss"], strict=True))
    assert curve(store, run_id, "loss/total") == winners
    assert curve(store, run_id, "batch_8_rate_0.005/loss/total") == winners
    losers = curve(store, run_id, "batch_8_rate_0.001/loss/total")
    assert [step for step, _ in losers] == list(history["step"]) and losers != winners
    assert child.data.params["batch_8_rate_0.001/learning_rate"] == "0.001"
    assert child.info.status == "FINISHED"


def test_of_several_processes_that_train_together_only_the_first_announces(monkeypatch):
    heard = []
    with listening(heard.append):
        monkeypatch.setenv("RANK", "1")
        announce(Row("", 1, {"loss": 1.0}))
        assert not heard
        monkeypatch.setenv("RANK", "0")
        announce(Row("", 1, {"loss": 1.0}))
    assert heard == [Row("", 1, {"loss": 1.0})]


def test_training_announces_its_start_its_rows_and_its_end(tmp_path):
    heard = []
    with listening(heard.append):
        history, _ = train(fine_tuning(), rows_of(), 0, SCHEDULE, run_of(tmp_path, "id"))
    assert heard[0] == Started("id", "general_distill small", "", SCHEDULE.model_dump())
    assert [event.step for event in heard[1:-1]] == list(history["step"])
    assert isinstance(heard[-1], Ended) and heard[-1].status == "FINISHED"


def test_without_a_server_training_is_the_same_and_hardly_later(store, tmp_path, capfd):
    plain = fine_tuning()
    started = time.monotonic()
    history, _ = train(plain, rows_of(), 0, SCHEDULE, run_of(tmp_path))
    plain_seconds = time.monotonic() - started
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: nobody else can answer there
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        how, model, started = run_of(tmp_path), fine_tuning(), time.monotonic()
        with_mlflow = train_live(uri, tmp_path, how, model)
    assert time.monotonic() - started < plain_seconds + CLOSING_SECONDS
    assert same(weights_of(plain), weights_of(model)) and with_mlflow.equals(history)
    said = capfd.readouterr().err
    assert said.count("general_distill: no live curves") == 1
    # What it was is remembered here, so that `track` finds what it should complete.
    record = tmp_path / "records" / f"{frame_sha256(history)}.json"
    assert how.checkpoints.name in record.read_text()
    track_child(store, tmp_path, history)
    assert complete(store, history)


def track_child(uri: str, folder: Path, history, parent: str = "a pipeline") -> str:
    """Adopt a history as `track` does, under a new parent; return the parent's id."""
    client = client_of(uri)
    experiment = experiment_id(client)
    parent_id = client.create_run(experiment, run_name=parent).info.run_id
    for _ in range(2):  # the second time changes nothing
        adopt(
            client,
            experiment,
            parent_id,
            History("general_distill", {"system": "small"}, history, frame_sha256(history)),
            Record("", "", {}, {}, {"profile": "demo", "git_commit": "unknown"}),
            folder / "records",
        )
    return parent_id


def complete(uri: str, history) -> list:
    """Return the child runs that have a history whole, each step once."""
    client = client_of(uri)
    query = f"tags.{HISTORY_TAG} = '{frame_sha256(history)}'"
    found = client.search_runs([experiment_id(client)], query)
    expected = list(zip(history["step"], history["loss"], strict=True))
    for run in found:
        assert curve(uri, run.info.run_id, "loss/total") == expected
        assert run.info.status == "FINISHED"
    return found


def history_of(folder: Path, seed: int):
    history, _ = train(
        fine_tuning(seed), rows_of(), 0, SCHEDULE, replace(run_of(folder), seed=seed)
    )
    return history


def test_a_training_that_nobody_saw_becomes_one_whole_child_run(store, tmp_path):
    history = history_of(tmp_path, 11)
    parent = track_child(store, tmp_path, history)
    (child,) = complete(store, history)
    assert child.data.tags[PARENT_TAG] == parent
    assert child.info.run_name == "general_distill small"


def test_a_half_seen_training_is_completed_with_each_step_once(store, tmp_path):
    history = history_of(tmp_path, 12)
    live = sender(store, tmp_path)
    live(Started("half seen", "general_distill small"))
    live(Row("", int(history["step"][0]), {"loss": float(history["loss"][0])}))
    live.close()
    cut = sender("http://127.0.0.1:9", tmp_path)  # the server is gone when training ends
    cut(Started("half seen", "general_distill small"))
    cut(Ended("", history))
    cut.close()
    parent = track_child(store, tmp_path, history)
    (child,) = complete(store, history)
    assert child.data.tags["training_id"] == "half seen"
    assert child.data.tags[PARENT_TAG] == parent


def test_a_child_run_stays_with_its_first_parent_and_the_next_one_names_it(store, tmp_path):
    history = history_of(tmp_path, 13)
    first = track_child(store, tmp_path, history)
    second = track_child(store, tmp_path, history)
    (child,) = complete(store, history)
    assert child.data.tags[PARENT_TAG] == first
    client = client_of(store)
    named = client.get_run(second).data.tags["shared/general_distill/small"]
    assert named == child.info.run_id
    assert not any("shared" in name for name in client.get_run(first).data.tags)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture
def server(store: str, port: int) -> Iterator[tuple[str, subprocess.Popen]]:
    started = start_server(store, port)
    yield f"http://127.0.0.1:{port}", started
    if started.poll() is None:
        kill(started)


@pytest.mark.slow
def test_a_server_killed_in_mid_training_costs_no_training_and_track_heals(
    server, store, port, tmp_path
):
    uri, process = server
    plain = fine_tuning()
    how = replace(run_of(tmp_path), seed=14)  # a history like no other test's
    train(plain, rows_of(), 0, SCHEDULE, replace(how, checkpoints=tmp_path / "plain"))

    def kill_it():
        seen_with(store, how, "loss/total")
        kill(process)

    model = waiting(kill_it)
    history = train_live(uri, tmp_path, how, model)
    assert same(weights_of(plain), weights_of(model))
    half = child_of(store, how)
    assert half.info.status == "RUNNING" and HISTORY_TAG not in half.data.tags
    assert 0 < len(curve(store, half.info.run_id, "loss/total")) < len(history)
    again = start_server(store, port)
    try:
        track_child(uri, tmp_path, history)
        assert [run.info.run_id for run in complete(uri, history)] == [half.info.run_id]
    finally:
        kill(again)


@pytest.mark.slow
def test_what_a_local_run_left_is_shown_by_a_server(server, store, tmp_path):
    uri, _ = server
    client = client_of(store)
    run_id = client.create_run(experiment_id(client)).info.run_id
    (tmp_path / "table.md").write_text("| system |")
    client.log_artifact(run_id, str(tmp_path / "table.md"))
    listing = f"{uri}/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}"
    with urllib.request.urlopen(listing) as answer:
        assert b"table.md" in answer.read()
    shown = f"{uri}/get-artifact?path=table.md&run_uuid={run_id}"
    with urllib.request.urlopen(shown) as answer:
        assert answer.read() == b"| system |"


CREATE = """
import sys, time
from tinybert.tracking.experiment import experiment_id
from tinybert.tracking.store import create_store, open_store
import mlflow
time.sleep(max(0, float(sys.argv[2]) - time.time()))
create_store(sys.argv[1])
client = open_store(sys.argv[1])
print(client.create_run(experiment_id(client)).info.run_id)
"""


@pytest.mark.slow
def test_two_processes_that_open_a_new_store_at_once_both_succeed(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    start = str(time.time() + 15)  # when both have imported mlflow
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, uri, start],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], [error for _, error in ends]
    client = client_of(uri)
    logged = {run.info.run_id for run in client.search_runs([experiment_id(client)])}
    assert logged == {out.strip() for out, _ in ends}
    assert not list(tmp_path.glob("*.partial*"))


def test_a_training_that_is_watched_gives_the_same_weights(store, tmp_path):
    plain, live = fine_tuning(), fine_tuning()
    train(plain, rows_of(), 0, SCHEDULE, run_of(tmp_path))
    train_live(store, tmp_path, run_of(tmp_path), live)
    assert same(weights_of(plain), weights_of(live))
