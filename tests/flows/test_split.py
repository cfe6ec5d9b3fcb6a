"""One run split over machines: who gets what, and in which order."""

from types import SimpleNamespace

import pytest
from prefect.client.schemas.objects import WorkerStatus
from prefect.states import Completed, Crashed, Failed, Running

from flows.split import run_all, waves

SYSTEMS, TASKS = ["a", "b"], ["x", "y"]
GRAPH = {
    "prepare_corpus": frozenset(),
    "fetch_teacher": frozenset({"prepare_corpus"}),
    "prepare_task@x": frozenset(),
    "prepare_task@y": frozenset(),
    "finetune_teacher@x": frozenset({"fetch_teacher", "prepare_task@x"}),
    "finetune_teacher@y": frozenset({"fetch_teacher", "prepare_task@y"}),
    "general_distill@a": frozenset({"fetch_teacher"}),
    "general_distill@b": frozenset({"fetch_teacher"}),
    "evaluate@a-x": frozenset({"general_distill@a", "finetune_teacher@x"}),
    "evaluate@a-y": frozenset({"general_distill@a", "finetune_teacher@y"}),
    "evaluate@b-x": frozenset({"general_distill@b", "finetune_teacher@x"}),
    "evaluate@b-y": frozenset({"general_distill@b", "finetune_teacher@y"}),
    "benchmark_latency@a": frozenset({"evaluate@a-x"}),
    "benchmark_latency@b": frozenset({"evaluate@b-x"}),
    "model_card@a-x": frozenset({"evaluate@a-x", "benchmark_latency@a"}),
    "report": frozenset({"benchmark_latency@a", "benchmark_latency@b", "evaluate@a-y"}),
    "track": frozenset({"report"}),
}


def test_what_all_need_comes_first_then_each_ones_own_then_each_task_then_the_sum():
    assert waves(GRAPH, SYSTEMS, TASKS) == [
        [["prepare_corpus", "fetch_teacher"]],
        [
            ["prepare_task@x", "finetune_teacher@x"],
            ["prepare_task@y", "finetune_teacher@y"],
            ["general_distill@a"],
            ["general_distill@b"],
        ],
        [["evaluate@a-x", "evaluate@b-x"], ["evaluate@a-y", "evaluate@b-y"]],
        [["benchmark_latency@a", "benchmark_latency@b", "model_card@a-x", "report", "track"]],
    ]


def test_no_stage_waits_for_one_of_a_later_wave_or_of_another_group_of_its_own():
    planned = waves(GRAPH, SYSTEMS, TASKS)
    place = {
        stage: (number, tuple(group))
        for number, groups in enumerate(planned)
        for group in groups
        for stage in group
    }
    assert set(place) == set(GRAPH)
    for stage, upstream in GRAPH.items():
        for name in upstream:
            assert place[name][0] < place[stage][0] or place[name] == place[stage]


class Server:
    """A Prefect server that knows what became of each flow run, and which workers it hears of."""

    def __init__(self, *fates: str) -> None:
        self.fates, self.asked, self.forced = list(fates), [], []
        self.heard_of = WorkerStatus.OFFLINE

    def ask(self, stages):
        self.asked.append(stages)
        return len(self.asked) - 1

    def read_flow_run(self, run_id):
        kind = self.fates[run_id]
        state = {"done": Completed(), "crashed": Crashed(), "failed": Failed(message="wrong")}
        running = {"silent": Running(), "late": Running()}
        if kind == "late":  # the next look finds it done
            self.fates[run_id] = "done"
        labels = {"prefect.worker.name": "a"}
        return SimpleNamespace(
            state=(state | running)[kind], labels=labels, work_pool_name="tinybert"
        )

    def read_workers_for_work_pool(self, _):
        return [SimpleNamespace(name="a", status=self.heard_of)]

    def set_flow_run_state(self, run_id, state, force):
        assert force
        self.forced.append((run_id, state.name))


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("flows.split.POLL_SECONDS", 0.01)
    monkeypatch.setattr("flows.split.SILENT_SECONDS", 0.05)


def test_a_group_whose_worker_is_silent_is_declared_dead_and_begun_anew(fast):
    server, said = Server("silent", "done", "done"), []
    assert run_all([["a"], ["b"]], server.ask, server, said.append) == []
    assert server.asked == [["a"], ["b"], ["a"]]
    assert server.forced == [(0, "Crashed")]
    assert said == [
        "a: its worker died or lost its network, got a offline; another worker begins its group "
        "again"
    ]


def test_a_worker_that_is_heard_of_again_in_time_keeps_its_group(fast):
    server = Server("late")
    assert run_all([["a"]], server.ask, server, print) == []
    assert server.asked == [["a"]]
    assert server.forced == []


def test_a_group_that_crashes_each_time_is_given_up_and_one_that_fails_is_not_tried_again(fast):
    server = Server("crashed", "failed", "crashed", "crashed")
    failed = run_all([["a", "b"], ["c"]], server.ask, server, print)
    assert server.asked == [["a", "b"], ["c"], ["a", "b"], ["a", "b"]]
    assert failed == ["c: wrong", "a, b: Crashed"]
