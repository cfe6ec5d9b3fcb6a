"""The graph is DVC's own; targets select what they need."""

from flows.graph import read_graph, stage_names, with_upstream
from tests.fixtures.refused import refused
from tests.fixtures.small_pipeline import STAGES, make_pipeline

GRAPH = {
    "prepare_corpus": frozenset(),
    "general_distill@a": frozenset({"prepare_corpus"}),
    "general_distill@b": frozenset({"prepare_corpus"}),
    "evaluate@a": frozenset({"general_distill@a"}),
    "report": frozenset({"evaluate@a", "general_distill@b"}),
}


def test_the_graph_is_that_of_dvc_yaml_with_upstream_stages_first(tmp_path):
    graph = read_graph(make_pipeline(tmp_path / "repo"))
    assert set(graph) == STAGES
    assert graph["report"] == {"augment@one", "augment@two", "benchmark_latency"}
    assert graph["prepare_corpus"] == frozenset()
    seen: set[str] = set()
    for stage, upstream in graph.items():
        assert upstream <= seen, f"{stage} comes before what it waits for"
        seen.add(stage)


def test_no_target_means_everything():
    assert with_upstream(GRAPH, []) == GRAPH


def test_a_target_brings_what_it_needs_and_nothing_else():
    expected = ["prepare_corpus", "general_distill@a", "evaluate@a"]
    assert list(with_upstream(GRAPH, ["evaluate@a"])) == expected


def test_a_name_without_item_means_all_its_items():
    expected = {"prepare_corpus", "general_distill@a", "general_distill@b"}
    assert set(with_upstream(GRAPH, ["general_distill"])) == expected


def test_unknown_targets_are_named_with_the_known_stages():
    line = refused(with_upstream, GRAPH, ["report", "evaluat", "evaluate@c"])
    assert "got evaluat, evaluate@c;" in line
    assert "known: prepare_corpus, general_distill, evaluate, report" in line


def test_stage_names_are_each_given_once():
    assert stage_names(GRAPH) == ["prepare_corpus", "general_distill", "evaluate", "report"]
