"""Bad input gets its lines and exit code 1; nothing half-made is left and nothing is lost."""

import importlib
import shutil
import sys
from contextlib import chdir
from pathlib import Path

import pytest

import stages
from tests.fixtures.models import save_pretrained
from tests.fixtures.workspace import SHAPE, edit_section, edit_yaml, make_workspace, run_stage
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file, replace_folder

PARAMS, PROFILE = Path("params.yaml"), Path("params/profiles/tiny.yaml")
SYSTEM, REVIEWS = Path("params/systems/tinybert_mini.yaml"), Path("params/tasks/reviews.yaml")
RAW, TEACHER = Path("data/raw"), Path("data/raw/teacher")
GENERAL = ("general_distill", "tinybert_mini")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A workspace whose corpus, teacher and first task are there."""
    folder = make_workspace(tmp_path_factory.mktemp("prepared"))
    with chdir(folder):
        for stage in ("prepare_corpus", "fetch_teacher"):
            run_stage(stage)
        for stage in ("prepare_task", "finetune_teacher"):
            run_stage(stage, "reviews")
    return folder


@pytest.fixture
def refused(prepared, tmp_path, monkeypatch, capsys):
    """A copy of the workspace, and what runs a stage there as the command line does.

    It returns the lines that the stage was refused with.
    """
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "workspace"))

    def run(stage: str, *arguments: str) -> list[str]:
        module = importlib.import_module(f"stages.{stage}")
        monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            stages.run(module.main)
        assert caught.value.code == 1
        left = [file.name for file in Path.cwd().rglob("*.partial")]
        assert not [n for n in left if not n.startswith("mlflow.db")]  # a thread makes that
        lines = capsys.readouterr().err.strip().splitlines()
        return [line for line in lines if line.startswith(f"{stage}: ")]

    return run


def replace_text(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new))


def make_a_decoder() -> None:
    replace_text(save_pretrained(TEACHER) / "config.json", '"bert"', '"gpt2"')


REFUSED = {  # what is wrong: how it becomes so, the stage that says it, and what is said
    "a misspelt key of a later stage": (
        lambda: edit_section(PROFILE, "benchmark_latency", num_repeat=3),
        ("prepare_corpus",),
        [f"{PROFILE}: benchmark_latency.num_repeat: unknown key", "did you mean 'num_repeats'?"],
    ),
    "an unknown key in params.yaml": (
        lambda: edit_section(PARAMS, "loss", atn_weight=1.0),
        ("prepare_corpus",),
        ["params.yaml: loss.atn_weight: unknown key", "'attn_weight'"],
    ),
    "relation heads that do not divide the student's width": (
        lambda: edit_section(SYSTEM, "intermediate_distill", terms=["relations"], relation_heads=5),
        ("prepare_corpus",),
        [f"{SYSTEM}: intermediate_distill.relation_heads: must divide", "one of 1, 2, 4, 8, 16,"],
    ),
    "a layer of relations that is none": (
        lambda: edit_section(SYSTEM, "general_distill", relation_layer=0),
        ("prepare_corpus",),
        ["general_distill.relation_layer: names no layer, got 0; write last, or a number from 1"],
    ),
    "a later phase's relation heads that do not divide the teacher's width": (
        lambda: edit_section(
            SYSTEM, "intermediate_distill", terms=["relations"], relation_heads=16
        ),
        GENERAL,
        ["relation_heads: must divide", "the teacher's 24, got 16"],
    ),
    "a later phase's layer of relations that the teacher lacks": (
        lambda: edit_section(
            SYSTEM, "intermediate_distill", terms=["relations"], relation_layer=9, relation_heads=4
        ),
        GENERAL,
        ["relation_layer: must be at most the teacher's 2 layers, got 9"],
    ),
    "a tokenizer without a name": (
        lambda: edit_yaml(SYSTEM, vocabulary={"tokenizer": ""}),
        ("prepare_corpus",),
        [f"{SYSTEM}: vocabulary.tokenizer: wrong value, got ''"],
    ),
    "a published row that the paper lacks": (
        lambda: edit_yaml(SYSTEM, published="tinybert5"),
        ("prepare_corpus",),
        [
            f"{SYSTEM}: published: is no row of the paper's table",
            *("got 'tinybert5'; known: bert_base, ", "tinybert4"),
        ],
    ),
    "a params file that is no YAML": (
        lambda: PARAMS.write_text("profile: [demo\n"),
        ("prepare_corpus",),
        ["params.yaml:2: not valid YAML"],
    ),
    "a corpus of another vocabulary": (
        lambda: replace_text(Path("data/corpus/tokenizer.json"), '"cat"', '"cow"'),
        GENERAL,
        ["must share one vocabulary"],
    ),
    "a pickled teacher": (
        lambda: (TEACHER / "model.safetensors").rename(TEACHER / "pytorch_model.bin"),
        ("fetch_teacher",),
        ["got the pickled pytorch_model.bin"],
    ),
    "a teacher with another hash": (
        lambda: edit_section(PROFILE, "teacher", sha256="0" * 64),
        ("fetch_teacher",),
        ["model.safetensors: wrong SHA-256"],
    ),
    "a missing teacher folder": (
        lambda: shutil.rmtree(TEACHER),
        ("prepare_corpus",),
        ["data/raw/teacher: no checkpoint folder"],
    ),
    "a decoder": (make_a_decoder, ("fetch_teacher",), ["no text encoder, got model_type 'gpt2'"]),
    "text that is no UTF-8": (
        lambda: (RAW / "corpus/more.txt").write_bytes(b"ok\n\xff\n"),
        ("prepare_corpus",),
        ["more.txt:2: not valid UTF-8"],
    ),
    "a missing argument": (
        lambda: None,
        ("evaluate", "tinybert_mini"),
        ["arguments: got tinybert_mini; right are: SYSTEM TASK"],
    ),
    "a name of two words": (
        lambda: edit_yaml(PARAMS, tasks=["tweet eval"]),
        ("prepare_task", "tweet", "eval"),
        ["tasks: wrong name, got 'tweet eval'"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_gets_one_line(refused, what):
    change, asked, expected = REFUSED[what]
    change()
    (line,) = refused(*asked)
    for each in expected:
        assert each in line


def test_all_problems_of_all_files_come_at_once(refused):
    edit_section(PROFILE, "augment", num_copies="twenty", replace_probability=1.5)
    edit_yaml(REVIEWS, max_lenght=64)
    edit_yaml(SYSTEM, layer_maps="top")
    lines = "\n".join(refused("word_vectors"))
    assert f"{PROFILE}: augment.num_copies: wrong value, got 'twenty'" in lines
    assert f"{PROFILE}: augment.replace_probability: wrong value, got 1.5" in lines
    assert f"{REVIEWS}: max_lenght: unknown key" in lines
    assert "did you mean 'max_length'?" in lines
    assert f"{SYSTEM}: layer_maps: unknown key" in lines


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("profile", "dmo", "there is no params/profiles/dmo.yaml, got 'dmo'; did you mean 'demo'?"),
        ("tasks", ["revews"], "there is no params/tasks/revews.yaml"),
        ("systems", ["bert"], "there is no params/systems/bert.yaml"),
        ("tasks", ["reviews", "reviews"], "named twice, got reviews"),
        ("tasks", [], "params.yaml: tasks: wrong value, got []"),
        ("seed", -1, "params.yaml: seed: wrong value, got -1"),
        ("precision", "fp16", "params.yaml: precision: wrong value, got 'fp16'"),
    ],
)
def test_wrong_names_and_values_are_refused(refused, key, value, expected):
    edit_yaml(PARAMS, **{key: value})
    (line,) = refused("prepare_corpus")
    assert expected in line


@pytest.mark.parametrize(
    ("layer_map", "expected"),
    [
        ([1, 2], "got 2 for 1 student layers"),
        ([3], "the teacher has layers 1 to 2, got 3"),
    ],
)
def test_a_layer_map_that_does_not_fit_is_refused(refused, layer_map, expected):
    edit_yaml(SYSTEM, layer_map=layer_map)
    (line,) = refused(*GENERAL)
    assert expected in line
    assert not Path("models/general").exists()


def test_different_head_counts_are_refused_while_attention_is_matched(refused):
    edit_yaml(SYSTEM, shape={**SHAPE, "num_attention_heads": 2})
    (line,) = refused(*GENERAL)
    assert "needs the teacher's 4 heads, got 2" in line
    edit_section(PARAMS, "loss", attn_weight=0)
    run_stage(*GENERAL)
    assert Path("models/general/tinybert_mini/model.safetensors").is_file()


def test_a_teacher_whose_labels_were_swapped_is_refused(refused):
    shutil.copytree("data/tasks/reviews", "data/augmented/reviews")
    file = Path("models/teacher/reviews/config.json")
    for old, new in (('"0": "bad"', '"0": "x"'), ('"1": "good"', '"1": "bad"'), ('"x"', '"good"')):
        replace_text(file, old, new)
    (line,) = refused("teacher_logits", "reviews")
    assert "got good, bad; expected bad, good" in line
    assert not Path("data/teacher_logits").exists()


def test_a_diverging_loss_says_where_and_leaves_the_earlier_output(refused):
    run_stage(*GENERAL)
    before = Path("models/general/tinybert_mini/model.safetensors").read_bytes()
    edit_section(PROFILE, "general_distill", learning_rate=1.0e30, warmup_ratio=0.0)
    (line,) = refused(*GENERAL)
    assert "general_distill tinybert_mini: " in line
    assert "at step" in line
    assert "lower the learning rate" in line
    assert Path("models/general/tinybert_mini/model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text,verdict\na cat,good,more\na dog,bad\na bird,good\n", "reviews.csv:2"),
        (b"", "reviews.csv"),
        (b"text,verdict\na cat,good\na \xff,bad\n", "reviews.csv:3"),
        (b"sentence,verdict\na cat,good\n", "'text'"),
        (b"text,verdict\na cat,good\na dog,good\n", "good"),
    ],
)
def test_a_broken_task_file_is_refused(refused, content, expected):
    (RAW / "tasks/reviews.csv").write_bytes(content)
    assert any(expected in line for line in refused("prepare_task", "reviews"))


def test_an_unknown_label_lists_the_known_ones(refused):
    edit_yaml(REVIEWS, labels=["good", "awful"])
    line = refused("prepare_task", "reviews")[0]
    assert "'bad'" in line
    assert "good, awful" in line


def test_a_missing_glue_folder_is_refused_with_the_cure(refused):
    edit_yaml(PARAMS, tasks=["mrpc"])
    line = refused("prepare_task", "mrpc")[0]
    assert "MRPC" in line
    assert "GLUE_DIR" in line or "sources.tasks" in line


def test_a_glove_file_of_inconsistent_width_is_refused(refused):
    edit_section(PROFILE, "word_vectors", source="file")
    rows = [f"word{i} 0.1 0.2 0.3" for i in range(20)]
    rows[12] = "word12 0.1 0.2"
    (RAW / "word_vectors/glove.txt").write_text("\n".join(rows) + "\n")
    (line,) = refused("word_vectors")
    assert "glove.txt:13" in line
    assert not Path("data/word_vectors").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_leaves_nothing_half_made(tmp_path):
    output = tmp_path / "scores.json"
    with pytest.raises(InputError, match="no disk space left"), replace_file(output) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("{}")
    assert list(tmp_path.iterdir()) == []
    folder = tmp_path / "model"
    with pytest.raises(InputError, match="free some and run again"), replace_folder(folder) as new:
        (new / "weights").symlink_to("/dev/full")
        (new / "weights").write_bytes(b"0")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_block_leaves_the_earlier_output(tmp_path):
    folder = tmp_path / "model"
    with replace_folder(folder) as partial:
        (partial / "a").write_text("first")
    with pytest.raises(ZeroDivisionError), replace_folder(folder) as partial:
        (partial / "a").write_text("second")
        1 / 0  # noqa: B018
    assert (folder / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
