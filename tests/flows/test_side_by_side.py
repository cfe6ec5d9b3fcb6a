"""`make demo` walks DVC's graph with trainings side by side; what it leaves is what DVC would."""

import argparse
import os
import signal
import subprocess
import sys
import time

import pytest

from flows.overrides import params_changed
from flows.side_by_side import (
    add_slots_option,
    teachers_text,
    usual_slots,
    walk_side_by_side,
)
from flows.stage_process import Outcome
from flows.walk import Room, Walk
from tests.fixtures.kinds import info_of
from tests.fixtures.small_pipeline import (
    STAGES,
    gone,
    set_params,
    times_run,
    wait_for_stage,
)
from tests.fixtures.workspace import ROOT, copy_params, edit_section
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import write_json
from tinybert.runtime.processes import num_processors

COMMAND = [sys.executable, "-m", "flows.side_by_side", "--slots", "2"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(root):
    return subprocess.run(COMMAND, cwd=root, env=ENVIRONMENT, capture_output=True, text=True)


def started(root, name):
    """Return the threads that a stage was given, and when it started."""
    _pid, threads, when = (root / "ran" / name).read_text().split()
    return threads, float(when)


def test_trainings_overlap_on_shared_cores_and_nothing_is_left_to_do(root):
    set_params(root, seconds=3)
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    share = str(max(1, num_processors() // 2))
    (one, at_one), (two, at_two) = started(root, "one"), started(root, "two")
    assert (one, two) == (share, share)
    # `small` trains too, so that one of three waits for a slot; a pair of them overlaps.
    times = sorted([at_one, at_two, started(root, "small")[1]])
    assert times[1] - times[0] < 3 <= times[2] - times[0]
    assert "work: made report" in done.stdout
    assert "To track the changes" not in done.stdout
    left = subprocess.run(["dvc", "status", "-q"], cwd=root, check=False)
    assert left.returncode == 0
    assert list(times_run(root).values()) == [1] * len(STAGES)


def test_what_a_killed_run_changed_is_put_back_and_said(root):
    before = (root / "params.yaml").read_text()
    killed = params_changed(root, ["systems=[none]"])
    killed.__enter__()  # and never left
    done = run(root)
    assert done.returncode == 0, done.stdout + done.stderr
    said = "params.yaml: put back as it was before a run that was killed"
    assert done.stdout.splitlines()[0] == said
    assert (root / "params.yaml").read_text() == before


def test_what_waits_for_a_failed_stage_does_not_run_and_all_else_does(root):
    set_params(root, fail="one")
    done = run(root)
    assert done.returncode == 1
    assert "work: params.yaml: fail: names me; write another" in done.stdout
    assert done.stderr == "augment@one: failed; its own line above says why\n"
    assert times_run(root) == dict.fromkeys(["corpus", "one", "small", "speed", "two"], 1)


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """Have stages do nothing, one for longer; return their names in the order they begin in."""
    found = []

    def bring(walk, stage, upstream, say):
        found.append(stage)
        time.sleep(0.2 if stage == "prepare_task@long" else 0)
        walk.outcomes[stage] = Outcome("Ran", 0.0, "done")
        return walk.outcomes[stage]

    monkeypatch.setattr(Walk, "bring_up_to_date", bring)
    return found


def test_what_most_stages_wait_for_begins_first(begun, tmp_path):
    waits = {
        "teacher_logits": [],
        "augment@baseline": ["teacher_logits"],
        "intermediate_distill@student": ["teacher_logits"],
        "prediction_distill@student": ["intermediate_distill@student"],
        "report": ["augment@baseline", "prediction_distill@student"],
    }
    graph = {stage: frozenset(of) for stage, of in waits.items()}
    assert walk_side_by_side(graph, Walk(tmp_path, frozenset(), Room(1), {}, False)) == []
    # Both could begin after the first, and the baseline stands first in the graph.
    assert begun[:2] == ["teacher_logits", "intermediate_distill@student"]
    assert begun[-1] == "report"


def test_the_teacher_with_most_text_to_read_begins_first(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy_params(tmp_path)
    grid = {"num_epochs": 3.0, "max_steps": 100, "batch_sizes": [32]}
    edit_section(tmp_path / "params/profiles/demo.yaml", "finetune_teacher", **grid)
    sizes = {"few": (100, 10), "many": (900, 32_000), "long": (200, 20)}  # bytes, rows
    for task, (size, num_rows) in sizes.items():
        folder = tmp_path / "data/tasks" / task
        folder.mkdir(parents=True)
        (folder / "train.parquet").write_bytes(b"x" * size)
        write_json(info_of("classification", num_rows).model_dump(), folder / "task.json")
    # 100 steps of 32 rows see a tenth of `many`; the others are read three times.
    found = [teachers_text(f"finetune_teacher@{task}") for task in sizes]
    assert found == pytest.approx([300, 90, 600])
    graph = {f"prepare_task@{task}": frozenset[str]() for task in sizes}
    graph |= {f"finetune_teacher@{task}": frozenset([f"prepare_task@{task}"]) for task in sizes}
    assert walk_side_by_side(graph, Walk(tmp_path, frozenset(), Room(1), {}, False)) == []
    assert begun[3:] == [f"finetune_teacher@{task}" for task in ("long", "few", "many")]


@pytest.mark.parametrize("slots", ["0", "-1", "1.5", "two"])
def test_slots_are_one_or_more(slots):
    parser = argparse.ArgumentParser()
    add_slots_option(parser)
    with pytest.raises(InputError, match=f"--slots: must be 1 or more, got {slots}; 2 suits two"):
        parser.parse_args([f"--slots={slots}"])


def test_trainings_on_a_gpu_take_turns(monkeypatch, tmp_path):
    monkeypatch.setattr("flows.side_by_side.NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr("flows.side_by_side.BYTES_PER_TRAINING", 1.0)
    stages = ["finetune_teacher@one", "finetune_teacher@two"]
    assert usual_slots(stages) == 2
    with monkeypatch.context() as few:
        few.setattr("os.sched_getaffinity", lambda _: {5}, raising=False)
        assert usual_slots(stages) == 1
    monkeypatch.setattr("flows.side_by_side.NVIDIA_DRIVER", tmp_path)
    assert usual_slots(stages) == 1


def test_the_stages_of_one_student_have_every_core(monkeypatch, tmp_path):
    monkeypatch.setattr("flows.side_by_side.NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64), raising=False)
    monkeypatch.setattr("flows.side_by_side.BYTES_PER_TRAINING", 1.0)
    stages = ["finetune_teacher@one", "prediction_distill@a-one", "prediction_distill@b-one"]
    slots = usual_slots(stages)
    assert slots == 1 and Room(slots).environment("finetune_teacher@one") == {}
    assert usual_slots([*stages, "prediction_distill@c-one"]) == 2


@pytest.mark.slow
def test_an_interrupt_ends_what_runs_within_seconds(root):
    set_params(root, seconds=600)
    process = subprocess.Popen(COMMAND, cwd=root, env=ENVIRONMENT)
    stage = wait_for_stage(root)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    gone(stage, time.monotonic() + 5)
