"""Bad input gets its lines and exit code 1; nothing half-made is left and nothing is lost."""

import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest

import stages
from tests.fixtures.models import save_pretrained
from tests.fixtures.workspace import SHAPE, edit_yaml, make_workspace, read_yaml
from tinybert.core.errors import InputError
from tinybert.core.outputs import replace_file, replace_folder

PROFILE = "params/profiles/tiny.yaml"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A workspace whose corpus, teacher and first task are there."""
    folder = make_workspace(tmp_path_factory.mktemp("prepared"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        for stage, *arguments in (
            ("prepare_corpus",),
            ("fetch_teacher",),
            ("prepare_task", "reviews"),
            ("finetune_teacher", "reviews"),
        ):
            importlib.import_module(f"stages.{stage}").main(*arguments)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "workspace"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, monkeypatch, stage: str, *arguments: str) -> list[str]:
    """Run a stage as the command line does; return the lines it was refused with."""
    module = importlib.import_module(f"stages.{stage}")
    monkeypatch.setattr(sys, "argv", [f"stages/{stage}.py", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        stages.run(module.main)
    assert caught.value.code == 1
    left = [file.name for file in Path.cwd().rglob("*.partial")]
    assert not [name for name in left if not name.startswith("mlflow.db")]  # a thread makes that
    lines = capsys.readouterr().err.strip().splitlines()
    return [line for line in lines if line.startswith(f"{stage}: ")]


def set_section(section: str, **changes) -> None:
    values = read_yaml(Path(PROFILE))
    values[section] |= changes
    edit_yaml(Path(PROFILE), **values)


def test_a_misspelt_key_of_the_last_stage_is_found_by_the_first(workspace, capsys, monkeypatch):
    set_section("benchmark_latency", num_repeat=3)
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert f"{PROFILE}: benchmark_latency.num_repeat: unknown key" in line
    assert "did you mean 'num_repeats'?" in line


def test_all_problems_of_all_files_come_at_once(workspace, capsys, monkeypatch):
    set_section("augment", num_copies="twenty", replace_probability=1.5)
    edit_yaml(Path("params/tasks/reviews.yaml"), max_lenght=64)
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), layer_maps="top")
    lines = "\n".join(refused(capsys, monkeypatch, "word_vectors"))
    assert f"{PROFILE}: augment.num_copies: wrong value, got 'twenty'" in lines
    assert f"{PROFILE}: augment.replace_probability: wrong value, got 1.5" in lines
    assert "params/tasks/reviews.yaml: max_lenght: unknown key" in lines
    assert "did you mean 'max_length'?" in lines
    assert "params/systems/tinybert_mini.yaml: layer_maps: unknown key" in lines


def test_an_unknown_key_in_params_yaml_is_refused(workspace, capsys, monkeypatch):
    loss = {**read_yaml(Path("params.yaml"))["loss"], "atn_weight": 1.0}
    edit_yaml(Path("params.yaml"), loss=loss)
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert "params.yaml: loss.atn_weight: unknown key" in line
    assert "'attn_weight'" in line


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
def test_wrong_names_and_values_are_refused(workspace, capsys, monkeypatch, key, value, expected):
    edit_yaml(Path("params.yaml"), **{key: value})
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert expected in line


def test_a_published_row_that_the_paper_lacks_is_refused(workspace, capsys, monkeypatch):
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), published="tinybert5")
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert "params/systems/tinybert_mini.yaml: published: is no row of the paper's table" in line
    assert "got 'tinybert5'; known: bert_base, " in line and "tinybert4" in line


def test_a_params_file_that_is_no_yaml_is_refused(workspace, capsys, monkeypatch):
    Path("params.yaml").write_text("profile: [demo\n")
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert "params.yaml:2: not valid YAML" in line


@pytest.mark.parametrize(
    ("layer_map", "expected"),
    [
        ([1, 2], "got 2 for 1 student layers"),
        ([3], "the teacher has layers 1 to 2, got 3"),
    ],
)
def test_a_layer_map_that_does_not_fit_is_refused(
    workspace, capsys, monkeypatch, layer_map, expected
):
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), layer_map=layer_map)
    (line,) = refused(capsys, monkeypatch, "general_distill", "tinybert_mini")
    assert expected in line
    assert not Path("models/general").exists()


def test_different_head_counts_are_refused_while_attention_is_matched(
    workspace, capsys, monkeypatch
):
    shape = {**SHAPE, "num_attention_heads": 2}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), shape=shape)
    (line,) = refused(capsys, monkeypatch, "general_distill", "tinybert_mini")
    assert "needs the teacher's 4 heads, got 2" in line
    loss = {**read_yaml(Path("params.yaml"))["loss"], "attn_weight": 0}
    edit_yaml(Path("params.yaml"), loss=loss)
    importlib.import_module("stages.general_distill").main("tinybert_mini")
    assert Path("models/general/tinybert_mini/model.safetensors").is_file()


def test_a_corpus_of_another_vocabulary_is_refused(workspace, capsys, monkeypatch):
    file = Path("data/corpus/tokenizer.json")
    file.write_text(file.read_text().replace('"cat"', '"cow"'))
    (line,) = refused(capsys, monkeypatch, "general_distill", "tinybert_mini")
    assert "must share one vocabulary" in line


def test_a_teacher_whose_labels_were_swapped_is_refused(workspace, capsys, monkeypatch):
    shutil.copytree("data/tasks/reviews", "data/augmented/reviews")
    file = Path("models/teacher/reviews/config.json")
    text = file.read_text().replace('"0": "bad"', '"0": "x"').replace('"1": "good"', '"1": "bad"')
    file.write_text(text.replace('"0": "x"', '"0": "good"'))
    (line,) = refused(capsys, monkeypatch, "teacher_logits", "reviews")
    assert "got good, bad; expected bad, good" in line
    assert not Path("data/teacher_logits").exists()


def test_a_pickled_teacher_is_refused(workspace, capsys, monkeypatch):
    Path("data/raw/teacher/model.safetensors").rename("data/raw/teacher/pytorch_model.bin")
    (line,) = refused(capsys, monkeypatch, "fetch_teacher")
    assert "got the pickled pytorch_model.bin" in line


def test_a_teacher_with_another_hash_is_refused(workspace, capsys, monkeypatch):
    set_section("teacher", sha256="0" * 64)
    (line,) = refused(capsys, monkeypatch, "fetch_teacher")
    assert "model.safetensors: wrong SHA-256" in line


def test_a_missing_teacher_folder_is_refused(workspace, capsys, monkeypatch):
    shutil.rmtree("data/raw/teacher")
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert "data/raw/teacher: no checkpoint folder" in line


def test_a_diverging_loss_says_where_and_leaves_the_earlier_output(workspace, capsys, monkeypatch):
    importlib.import_module("stages.general_distill").main("tinybert_mini")
    before = Path("models/general/tinybert_mini/model.safetensors").read_bytes()
    set_section("general_distill", learning_rate=1.0e30, warmup_ratio=0.0)
    (line,) = refused(capsys, monkeypatch, "general_distill", "tinybert_mini")
    assert "general_distill tinybert_mini: " in line
    assert "at step" in line
    assert "lower the learning rate" in line
    assert Path("models/general/tinybert_mini/model.safetensors").read_bytes() == before


def test_text_that_is_no_utf8_is_refused(workspace, capsys, monkeypatch):
    Path("data/raw/corpus/more.txt").write_bytes(b"ok\n\xff\n")
    (line,) = refused(capsys, monkeypatch, "prepare_corpus")
    assert "more.txt:2: not valid UTF-8" in line


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
def test_a_broken_task_file_is_refused(workspace, capsys, monkeypatch, content, expected):
    Path("data/raw/tasks/reviews.csv").write_bytes(content)
    lines = refused(capsys, monkeypatch, "prepare_task", "reviews")
    assert any(expected in line for line in lines)


def test_an_unknown_label_lists_the_known_ones(workspace, capsys, monkeypatch):
    edit_yaml(Path("params/tasks/reviews.yaml"), labels=["good", "awful"])
    lines = refused(capsys, monkeypatch, "prepare_task", "reviews")
    assert "'bad'" in lines[0]
    assert "good, awful" in lines[0]


def test_a_missing_glue_folder_is_refused_with_the_cure(workspace, capsys, monkeypatch):
    edit_yaml(Path("params.yaml"), tasks=["mrpc"])
    lines = refused(capsys, monkeypatch, "prepare_task", "mrpc")
    assert "MRPC" in lines[0]
    assert "GLUE_DIR" in lines[0] or "sources.tasks" in lines[0]


def test_a_glove_file_of_inconsistent_width_is_refused(workspace, capsys, monkeypatch):
    set_section("word_vectors", source="file")
    rows = [f"word{i} 0.1 0.2 0.3" for i in range(20)]
    rows[12] = "word12 0.1 0.2"
    Path("data/raw/word_vectors/glove.txt").write_text("\n".join(rows) + "\n")
    (line,) = refused(capsys, monkeypatch, "word_vectors")
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


def test_a_decoder_is_no_teacher(workspace, capsys, monkeypatch):
    file = save_pretrained(Path("data/raw/teacher")) / "config.json"
    file.write_text(file.read_text().replace('"model_type": "bert"', '"model_type": "gpt2"'))
    (line,) = refused(capsys, monkeypatch, "fetch_teacher")
    assert "no text encoder, got model_type 'gpt2'" in line


def test_missing_arguments_are_named(workspace, capsys, monkeypatch):
    (line,) = refused(capsys, monkeypatch, "evaluate", "tinybert_mini")
    assert "arguments: got tinybert_mini; right are: SYSTEM TASK" in line


def test_a_name_of_two_words_is_judged_as_a_name(workspace, capsys, monkeypatch):
    edit_yaml(Path("params.yaml"), tasks=["tweet eval"])
    (line,) = refused(capsys, monkeypatch, "prepare_task", "tweet", "eval")
    assert "tasks: wrong name, got 'tweet eval'" in line
