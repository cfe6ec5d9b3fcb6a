"""Every stage runs on real files with a two-layer teacher and a one-layer student."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import starts
from benchmarks.table import FOLDER
from stages import _choose, finetune_teacher
from stages._check_params import _check_system
from tests.fixtures.workspace import (
    edit_section,
    edit_yaml,
    make_workspace,
    read_yaml,
    run_stage,
    sentences,
)
from tinybert.distillation.teacher_logits import INFO, read_logits, rows_to_train_on
from tinybert.doctor.checkup import enough_rows
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.encoders.classifier import finetuned_classifier
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import read_task
from tinybert.settings.systems import Shape
from tinybert.tasks.phase_rows import require_every_class
from tinybert.tasks.task import Encoding, read_info, read_split
from tinybert.tasks.task_file import TaskFile

TASKS, SYSTEMS = ("reviews", "scores"), ("tinybert_mini", "scratch_mini")


def encoding_of(task_folder: Path) -> Encoding:
    with chdir(task_folder.parents[2]):
        return read_task(task_folder.name, TaskFile).encoding(read_info(task_folder))


def made_up_megabytes(engines, *_) -> dict[str, float]:
    return dict.fromkeys(engines, 100.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Run the pipeline's stages in their order, once; tests look at what they left."""
    folder = make_workspace(tmp_path_factory.mktemp("workspace"))
    further = zip(sentences(40, 5), sentences(40, 6), strict=True)
    lines = ["one\ttwo", *(f"{one}\t{two}" for one, two in further)]
    (folder / "data/raw/tasks/further.tsv").write_text("\n".join(lines) + "\n")
    edit_yaml(folder / "params/tasks/scores.yaml", unlabelled={"files": "further.tsv"})
    scratch = folder / "params/systems/scratch_mini.yaml"  # takes what the tasks' files say
    edit_yaml(scratch, prediction_distill={"terms": ["label"]})
    with chdir(folder):
        for stage in ("prepare_corpus", "fetch_teacher", "word_vectors"):
            run_stage(stage)
        for stage in ("prepare_task", "finetune_teacher", "augment", "teacher_logits"):
            for task in TASKS:
                run_stage(stage, task)
        for system in SYSTEMS:
            run_stage("general_distill", system)
            for stage in ("intermediate_distill", "prediction_distill", "evaluate"):
                for task in TASKS:
                    said = run_stage(stage, system, task)
                    (folder / f"said_{stage}_{system}_{task}").write_text(said)
            run_stage("export", system, "scores")
            with pytest.MonkeyPatch.context() as patch:
                if system == "scratch_mini":  # one system's memory is measured: processes of 5 s
                    patch.setattr("stages.benchmark_latency.peak_megabytes", made_up_megabytes)
                run_stage("benchmark_latency", system)
            for task in TASKS:
                run_stage("model_card", system, task)
        run_stage("report")
        (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
        run_stage("track")
        yield folder


@pytest.fixture
def copied(workspace, tmp_path, monkeypatch) -> Path:
    """A copy of the workspace, to change and to run stages in."""
    folder = shutil.copytree(workspace, tmp_path / "copy")
    monkeypatch.chdir(folder)
    return folder


def test_students_load_with_plain_transformers_and_know_their_labels(workspace):
    for system in SYSTEMS:
        folder = workspace / "models/student" / system / "reviews"
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        assert model.config.id2label == {0: "bad", 1: "good"}
        assert model.config.num_hidden_layers == 1
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert model(**tokenizer("the cat sat", return_tensors="pt")).logits.shape == (1, 2)


def test_a_student_is_what_was_predicted_with_beside_its_card(workspace):
    for system in SYSTEMS:
        for task in TASKS:
            folder = workspace / "models/student" / system / task
            made = workspace / "models/prediction" / system / task
            names = {file.name for file in made.iterdir()}
            assert {file.name for file in folder.iterdir()} == names | {"README.md"}
            assert (folder / "model.safetensors").samefile(made / "model.safetensors")
            scores = json.loads((workspace / f"reports/metrics/{system}/{task}.json").read_text())
            results = ModelCard.load(folder / "README.md").data.eval_results
            found = {each.metric_name: each.metric_value for each in results}
            assert found == pytest.approx(scores["metrics"]["dev"])


def test_the_table_computes_every_score_again_from_its_predictions(workspace, capsys, monkeypatch):
    monkeypatch.chdir(workspace)
    # Three rows, each with two metrics of each task's dev split.
    assert "(12 scores computed again)" in run_stage("report", "table")
    assert "tinybert_mini (ours, dev)" in capsys.readouterr().out
    comparison = pd.read_csv(workspace / "reports/comparison/comparison.csv")
    ours = comparison[comparison["source"] == "ours, dev"].set_index("system")
    for system in ("teacher", *SYSTEMS):
        for task, metric in (("reviews", "accuracy"), ("scores", "spearman")):
            gold = read_split(workspace / "data/tasks" / task, "dev")["label"]
            file = workspace / f"reports/predictions/{system}/{task}/dev.tsv"
            predicted = pd.read_csv(file, sep="\t")["prediction"]
            if task == "reviews":
                labels = read_info(workspace / "data/tasks/reviews").labels
                expected = np.mean([labels[a] == b for a, b in zip(gold, predicted, strict=True)])
            else:
                expected = predicted.corr(gold, method="spearman")
            assert ours.loc[system, f"{task}/dev/{metric}"] == pytest.approx(100 * expected)
    # Both conventions: a pooler on each of 128 tokens is 2 * 128 * 16 * 16 more.
    row = ours.loc["tinybert_mini"]
    assert (row["gflops_printed"] - row["gflops"]) * 1e9 == pytest.approx(65_536)


def test_a_regression_student_has_one_output(workspace):
    folder = workspace / "models/student/tinybert_mini/scores"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.num_labels == 1
    assert model.config.problem_type == "regression"


def test_projections_are_kept_beside_the_general_student_and_never_in_a_student(workspace):
    general = workspace / "models/general/tinybert_mini"
    assert (general / "projections.safetensors").is_file()
    for folder in (general, workspace / "models/student/tinybert_mini/reviews"):
        names = load_file(folder / "model.safetensors")
        assert not [name for name in names if "projection" in name or "teacher" in name]
    assert not list((workspace / "models/student").rglob("projections.safetensors"))


def test_a_phase_without_terms_passes_its_student_on(workspace):
    general = load_file(workspace / "models/general/scratch_mini/model.safetensors")
    passed = load_file(workspace / "models/intermediate/scratch_mini/reviews/model.safetensors")
    assert all(torch.equal(general[name], passed[name]) for name in general)


def test_distillation_phases_change_the_student(workspace):
    general = load_file(workspace / "models/general/tinybert_mini/model.safetensors")
    task = load_file(workspace / "models/intermediate/tinybert_mini/reviews/model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(general[name], task[name])


def test_predictions_repeat_the_scores(workspace):
    folder = workspace / "data/tasks/reviews"
    info = read_info(folder)
    for system in ("teacher", *SYSTEMS):
        scores = json.loads((workspace / f"reports/metrics/{system}/reviews.json").read_text())
        file = workspace / f"reports/predictions/{system}/reviews/dev.tsv"
        predicted = pd.read_csv(file, sep="\t")["prediction"]
        gold = [info.labels[label] for label in read_split(folder, "dev")["label"]]
        accuracy = np.mean([a == b for a, b in zip(predicted, gold, strict=True)])
        assert scores["metrics"]["dev"]["accuracy"] == pytest.approx(accuracy)
        assert sum(map(sum, scores["confusion"]["dev"])) == len(gold)


def test_a_stored_score_is_what_the_saved_student_gives_in_float32(workspace):
    folder = workspace / "models/student/tinybert_mini/scores"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    frame = read_split(workspace / "data/tasks/scores", "dev")
    expected = []
    for one, two in zip(frame["sentence1"], frame["sentence2"], strict=True):
        inputs = tokenizer(one, two, truncation=True, max_length=32, return_tensors="pt")
        expected.append(model(**inputs).logits.item())
    file = workspace / "reports/predictions/tinybert_mini/scores/dev.tsv"
    np.testing.assert_allclose(pd.read_csv(file, sep="\t")["prediction"], expected, atol=1e-4)


def test_histories_name_the_terms_of_their_phase(workspace):
    def columns(file):
        return set(pd.read_csv(workspace / "reports/training" / file).columns)

    layers = {"loss/attention", "loss/hidden", "loss/embedding"}
    assert layers <= columns("general_distill/tinybert_mini.csv")
    assert layers <= columns("intermediate_distill/tinybert_mini-scores.csv")
    assert "loss/prediction" in columns("prediction_distill/tinybert_mini-reviews.csv")
    assert "loss/label" in columns("prediction_distill/scratch_mini-reviews.csv")
    assert len(pd.read_csv(workspace / "reports/training/general_distill/scratch_mini.csv")) == 0


def test_nothing_unfinished_is_left(workspace):
    assert not list(workspace.rglob("*.partial"))
    files = [path.name for path in (workspace / "checkpoints").rglob("*") if path.is_file()]
    assert set(files) <= {"tinybert_mini.made", "lock", "teacher.json"}


def test_the_report_is_written(workspace):
    assert (workspace / "reports/index.html").stat().st_size > 10_000
    table = (workspace / "reports/tables/results.md").read_text()
    assert all(system in table for system in ("teacher", *SYSTEMS))


def test_a_teacher_finetuned_elsewhere_is_put_into_the_tasks_label_order(workspace, tmp_path):
    folder = workspace / "models/teacher/reviews"
    info = read_info(workspace / "data/tasks/reviews")
    swapped = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        for weight in (swapped.classifier.weight, swapped.classifier.bias):
            weight.copy_(weight.flip(0).clone())
    swapped.config.id2label = {0: "GOOD", 1: "bad"}
    swapped.config.label2id = {"GOOD": 0, "bad": 1}
    swapped.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    ours = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    theirs = finetuned_classifier(tmp_path, info).eval()
    ids = torch.tensor([[2, 6, 8, 3]])
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits)
    assert theirs.config.id2label == {0: "bad", 1: "good"}


def test_a_teacher_with_other_labels_is_refused(workspace, tmp_path):
    info = read_info(workspace / "data/tasks/reviews")
    info = info.model_copy(update={"labels": ["bad", "worse"]})
    with pytest.raises(InputError, match="got bad, good; expected bad, worse"):
        finetuned_classifier(workspace / "models/teacher/reviews", info)


def test_unlabelled_rows_are_scored_and_trained_on_but_not_for_gold_labels(workspace):
    augmented = read_split(workspace / "data/augmented/scores", "train")
    num_rows = len(augmented) + 40
    logits = read_logits(workspace / "data/teacher_logits/scores", num_rows, 1)
    about = json.loads((workspace / "data/teacher_logits/scores/teacher_logits.json").read_text())
    dropped = about["copies"]["changed"] + about["copies"]["unsure"]
    assert len(logits.values) == num_rows - dropped
    assert logits.numbers[-40:].tolist() == list(range(num_rows - 40, num_rows))
    # 60 rows, a tenth of which is dev; prediction_data is original, and scratch reads gold labels.
    said = {
        (stage, system): (workspace / f"said_{stage}_distill_{system}_scores").read_text()
        for stage in ("intermediate", "prediction")
        for system in SYSTEMS
    }
    assert f"from {num_rows - dropped} rows" in said["intermediate", "tinybert_mini"]
    assert "from 94 rows" in said["prediction", "tinybert_mini"]
    assert "from 54 rows" in said["prediction", "scratch_mini"]
    card = (workspace / "models/student/tinybert_mini/scores/README.md").read_text()
    assert "Rows without labels: 40, none" in card
    assert "Read by intermediate_distill and prediction_distill.\n- General" in card
    other = (workspace / "models/student/scratch_mini/scores/README.md").read_text()
    assert "Rows without labels: 40, none of which stands in dev or test. No phase" in other


def test_the_teachers_logits_are_those_of_the_augmented_rows(workspace):
    folder = workspace / "models/teacher/reviews"
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    augmented = read_split(workspace / "data/augmented/reviews", "train")
    logits = read_logits(workspace / "data/teacher_logits/reviews", len(augmented), 2)
    for number in logits.numbers[[0, 1, -1]]:
        text = augmented["sentence1"].iloc[number]
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].tolist()
        found = logits.of(np.array([number]))[0].tolist()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_phases_train_on_the_copies_that_the_teacher_labels_as_their_originals(workspace):
    for task, num_outputs in (("reviews", 2), ("scores", 1)):
        folder = workspace / "data/teacher_logits" / task
        augmented = read_split(workspace / "data/augmented" / task, "train")
        copies = json.loads((folder / "teacher_logits.json").read_text())["copies"]
        info = read_info(workspace / "data/tasks" / task)
        places = (workspace / "data/tasks" / task, workspace / "data/augmented" / task, folder)
        kept = rows_to_train_on("augmented", *places, info)
        assert set(kept["row"]) == set(augmented["row"])  # every original
        assert len(augmented) == augmented["row"].nunique() + sum(copies.values())
        assert len(kept) == len(augmented) - copies["changed"] - copies["unsure"]
        if task == "reviews":
            scored = read_logits(folder, len(augmented), num_outputs)
            labels = pd.Series(scored.values.argmax(axis=1), index=scored.numbers)
            assert (labels.groupby(kept["row"]).nunique() == 1).all()


def test_without_a_filter_phases_train_on_all_augmented_rows(copied):
    profile, every = copied / "params/profiles/tiny.yaml", {"keep": "all", "max_rows": 70}
    edit_section(profile, "teacher_logits", **every, also_original=False)
    run_stage("teacher_logits", "reviews")
    folder = copied / "data/teacher_logits/reviews"
    augmented = read_split(copied / "data/augmented/reviews", "train")
    assert len(np.load(folder / "rows.npy")) == 70
    info = read_info(copied / "data/tasks/reviews")
    places = (copied / "data/tasks/reviews", copied / "data/augmented/reviews", folder)
    assert len(rows_to_train_on(None, *places, info)) == len(augmented)


def test_the_teacher_is_not_loaded_to_distil_its_predictions(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYBERT_DOCTOR", "off")  # it looks at the teacher's weights
    hidden, weights = tmp_path / "weights", workspace / "models/teacher/reviews/model.safetensors"
    weights.rename(hidden)  # its tokenizer is read: the student may have another
    try:
        run_stage("prediction_distill", "tinybert_mini", "reviews")
    finally:
        hidden.rename(weights)


@pytest.mark.parametrize("task", TASKS)
def test_a_closed_form_start_gives_a_classifier_and_its_score_before_any_step(copied, task):
    phase = {"start": "closed_form", "terms": []}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), intermediate_distill=phase)
    said = run_stage("intermediate_distill", "tinybert_mini", task)
    assert "without a step" in said
    start = json.loads(Path(f"reports/start/tinybert_mini-{task}.json").read_text())
    assert {each["map"] for each in start["maps"]} >= {"query", "feed-forward in", "logits"}
    folder = Path("models/intermediate/tinybert_mini") / task
    fitted = load_file(folder / "model.safetensors")
    assert "classifier.weight" in fitted
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), prediction_distill={"terms": []})
    run_stage("prediction_distill", "tinybert_mini", task)
    alone = load_file(Path("models/prediction/tinybert_mini") / task / "model.safetensors")
    assert all(torch.equal(alone[name], fitted[name]) for name in fitted)
    phase = {"start": "closed_form", "terms": ["attention", "hidden", "embedding"]}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), intermediate_distill=phase)
    run_stage("intermediate_distill", "tinybert_mini", task)
    trained = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(trained[name], fitted[name])
    assert (trained[name] - fitted[name]).abs().max() < 0.01  # went on from it: 4 steps


def test_a_start_is_fitted_to_a_tasks_own_rows_and_sampled_pairs_are_trained_on_too(copied):
    phase = {"start": "closed_form", "terms": []}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), intermediate_distill=phase)
    task, teacher = Path("data/tasks/scores").absolute(), Path("models/teacher/scores")
    shape = Shape(**read_yaml(Path("params/systems/tinybert_mini.yaml"))["shape"])
    shape = shape.model_copy(update={"intermediate_size": 10**6})
    weights, num_rows, num_scored, num_judged, refused = [], [], [], [], []
    for sampled_pairs in (0, 100):
        edit_section(Path("params/profiles/tiny.yaml"), "prepare_task", sampled_pairs=sampled_pairs)
        run_stage("prepare_task", "scores")
        run_stage("teacher_logits", "scores")
        said = run_stage("intermediate_distill", "tinybert_mini", "scores")
        num_rows.append(int(said.partition(" from ")[2].split()[0].replace(",", "")))
        num_scored.append(
            json.loads((Path("data/teacher_logits/scores") / INFO).read_text())["num_rows"]
        )
        weights.append(load_file("models/intermediate/tinybert_mini/scores/model.safetensors"))
        encoding, info = encoding_of(task), read_info(task)
        judged = finetuned_classifier(teacher, info), task, info, encoding, "tinybert_mini", 1
        num_judged.append(len(_choose.make_judge(*judged).rows))
        (found,) = enough_rows(shape, task, load_tokenizer(teacher), encoding)
        refused.append(found.line)
    assert info.num_sampled > 0
    assert num_rows[1] - num_rows[0] == info.num_sampled
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert num_scored[1] - num_scored[0] == info.num_sampled
    assert num_judged[1] == num_judged[0] and refused[1] == refused[0]
    run_stage("prediction_distill", "tinybert_mini", "scores")


def test_a_closed_form_start_of_the_general_phase_is_nearer_to_the_teacher(copied):
    losses = {}
    for start in ("random", "closed_form"):
        edit_yaml(Path("params/systems/tinybert_mini.yaml"), initialisation=start)
        run_stage("general_distill", "tinybert_mini")
        history = pd.read_csv("reports/training/general_distill/tinybert_mini.csv")
        losses[start] = history["loss/hidden"].iloc[0]
    assert losses["closed_form"] < losses["random"]


@pytest.fixture
def recipe(copied) -> list[str]:
    """The arguments of a choice whose system's phases begin in closed form."""
    phase = {"start": "closed_form", "terms": ["hidden"]}
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), intermediate_distill=phase)
    return ["--system", "tinybert_mini", "--length", "8", "--task", "reviews", "--ms"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_shape_is_chosen_and_its_system_runs(recipe, task, capsys):
    said = _choose.main([*recipe, "1000", "--name", "mine", "--task", task])
    table = pd.read_csv(f"reports/choose/{task}.csv")
    best = table.sort_values(["lost", "ms"])["shape"].iloc[0]
    assert said.startswith(f"chose {best}, ") and "wrote params/systems/mine.yaml" in said
    shown = capsys.readouterr().out
    assert all(shape in shown for shape in table["shape"])
    assert len(table) == 6 and table["front"].any()  # 1 and 2 layers, three widths
    _check_system("mine")
    assert "systems=[mine]" in said
    run_stage("general_distill", "mine")
    assert "made the student" in run_stage("intermediate_distill", "mine", task)


def test_a_chosen_system_is_written_again_with_other_milliseconds_alone(copied):
    mine = read_yaml(Path("params/systems/tinybert_mini.yaml"))
    file = _choose.write_system("mine", mine | {"description": "3 ms"})
    _choose.write_system("mine", mine | {"description": "4 ms"})
    assert read_yaml(file)["description"] == "4 ms"
    with pytest.raises(InputError, match=r"mine.yaml: says something else, .* NAME=another"):
        _choose.write_system("mine", mine | {"layer_map": "top"})
    assert read_yaml(file)["description"] == "4 ms"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["0.0001", "--engine", "pytorch_fp32"],
            "MS: no shape takes at most 0.0001 ms a row here, got ",
        ),
        (["0"], "MS: must be more than 0, got 0"),
        (["1", "--threads", "0"], "THREADS: must be more than 0, got 0"),
        (["much"], "arguments: argument --ms: invalid float value: 'much'; right are TASK=mrpc"),
        (["1", "--engine", "abacus"], "invalid choice: 'abacus' (choose from "),
        (["1", "--task", "absent"], "params/tasks/absent.yaml"),
        (["1", "--task", "sst2"], "run `dvc repro finetune_teacher@sst2`"),
        (["1", "--length", "9999"], "LENGTH"),
        (["1", "--system", "scratch_mini"], "intermediate_distill.start must be closed_form"),
        (["1", "--system", "closed_form_rank64_mini"], "architecture must be bert, got electra"),
        (["1", "--system", "closed_form_8k_mini"], "vocabulary must be teacher, got another"),
        (["1", "--name", "../x"], "NAME: systems: wrong name, got '../x'"),
        (["1", "--name", "2024"], "NAME: systems: wrong name, got '2024'"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused_in_one_line(recipe, changes, said):
    before = set(Path("params/systems").iterdir())
    with pytest.raises(InputError) as caught:
        _choose.main([*recipe, *changes])
    (line,) = caught.value.problems
    assert said in line
    assert set(Path("params/systems").iterdir()) == before


def test_a_closed_form_start_needs_a_row_of_each_class(workspace):
    info = read_info(workspace / "data/tasks/reviews")
    info = info.model_copy(update={"labels": [*info.labels, "mixed"]})
    with pytest.raises(InputError, match="got none of mixed; add some"):
        require_every_class(workspace / "data/tasks/reviews", info)


def test_what_a_closed_form_cannot_start_from_is_refused_before_the_teacher_is_trained(
    copied, monkeypatch
):
    task = Path("data/tasks/reviews")
    about = json.loads((task / "task.json").read_text())
    (task / "task.json").write_text(json.dumps(about | {"labels": [*about["labels"], "mixed"]}))
    system = copied / "params/systems/tinybert_mini.yaml"
    edit_yaml(system, intermediate_distill={"start": "closed_form", "terms": []})
    monkeypatch.setattr(finetune_teacher, "finetune_teacher", lambda *_: pytest.fail("trains"))
    with pytest.raises(InputError, match="got none of mixed; add some"):
        finetune_teacher.main("reviews")


def test_a_task_of_fewer_tokens_than_neurons_has_not_enough_rows(workspace):
    task = workspace / "data/tasks/reviews"
    tokenizer = load_tokenizer(workspace / "models/pretrained")
    shape = Shape(**read_yaml(workspace / "params/systems/tinybert_mini.yaml")["shape"])
    encoding = encoding_of(task)
    assert enough_rows(shape, task, tokenizer, encoding) == []
    more = shape.model_copy(update={"intermediate_size": 10**6})
    (found,) = enough_rows(more, task, tokenizer, encoding)
    assert (found.level, found.line[:50]) == (
        "wrong",
        "closed form: more tokens than columns are needed, ",
    )


def test_the_table_of_starts_goes_on_where_it_stopped_and_scores_each_start(copied, capsys):
    asked = ["--system", "tinybert_mini", "--tasks", "scores", "--seeds", "1"]
    asked += ["--general", "0,2", "--steps", "0,1,4"]  # of one step there is none of predictions
    starts.main(asked)
    table = FOLDER / "starts.csv"
    found = pd.read_csv(table)
    assert len(found) == (3 * 2 + 1) * 3  # starts with and without general, steps
    assert found.notna().all().all()
    assert set(found["start"]) == set(starts.STARTS)
    printed = capsys.readouterr().out
    assert "starts: 21 of 21: task scores, seed 1, start task, general 0, steps 4" in printed
    assert "| task       |         0 |       1 |" in printed
    found[:-2].to_csv(table, index=False)
    starts.main(asked)
    again = pd.read_csv(table)
    assert "starts: 2 of 2: task scores" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again, found)
    with pytest.raises(InputError, match="--starts: unknown, got luck; known: random, embeddings"):
        starts.main(["--starts", "luck"])
