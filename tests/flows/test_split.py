"""One run split over machines: who gets what, and in which order."""

from flows.split import waves

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
