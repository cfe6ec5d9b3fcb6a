"""Stages that use every core are few at once, and measurements of time are alone."""

import threading
from contextlib import ExitStack

from flows.walk import Room


def enters(room, stage):
    """Say whether a stage gets a place within a moment; it keeps it till the room is left."""
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with room.place(stage):
            entered.set()
            leave.wait()

    threading.Thread(target=stay, daemon=True).start()
    return entered.wait(0.2), leave, entered


def test_no_more_trainings_at_once_than_slots():
    room = Room(2)
    with room.place("general_distill@a"), room.place("finetune_teacher@b"):
        inside, leave, entered = enters(room, "intermediate_distill@a-b")
        assert not inside
    assert entered.wait(2)
    leave.set()


def test_stages_that_do_not_train_need_no_slot():
    room = Room(1)
    with ExitStack() as stack:
        for stage in ("general_distill@a", "evaluate@a-b", "prepare_task@b"):
            stack.enter_context(room.place(stage))


def test_a_latency_measurement_waits_for_all_and_all_wait_for_it():
    room = Room(4)
    with room.place("evaluate@a-b"):
        inside, leave, entered = enters(room, "benchmark_latency@a")
        assert not inside
    assert entered.wait(2)
    inside, leave_other, entered_other = enters(room, "evaluate@a-c")
    assert not inside
    leave.set()
    assert entered_other.wait(2)
    leave_other.set()


def test_trainings_at_once_share_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
    room = Room(2)
    assert room.environment("general_distill@a")["OMP_NUM_THREADS"] == "3"
    assert room.environment("evaluate@a-b") == {}
    assert Room(1).environment("general_distill@a") == {}
