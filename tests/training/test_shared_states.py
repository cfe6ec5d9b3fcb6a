"""The pass that scores a task's rows keeps states that stand for each student's own pass."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.fixtures.models import tiny_classifier
from tests.fixtures.training import KilledError, counted, rows_of
from tests.fixtures.workspace import ROOT, edit_section, edit_yaml, make_workspace
from tinybert.closed_form.head import head_targets, head_targets_of
from tinybert.distillation import teacher_states
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import score_rows
from tinybert.settings.reader import read_section, read_task
from tinybert.tasks.task_file import TaskFile
from tinybert.text.batching import collate
from tinybert.text.encoded import rows_numbered
from tinybert.training.sections import IntermediateDistillSettings
from tinybert.training.shared_states import (
    ABOUT,
    asked_by_systems,
    done_reading,
    read_heads_part,
    read_shared,
    score_and_keep,
    shared_folder,
)

PROFILE = Path("params/profiles/tiny.yaml")
LAYERS = [2, 4]  # of four, for the tiny systems' two layers


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """A workspace whose system has two layers, in which keeping states pays."""
    folder = make_workspace(tmp_path)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)
    edit_section(Path("params/systems/tinybert_mini.yaml"), "shape", num_hidden_layers=2)
    return folder


def set_systems(**changed) -> None:
    """Name systems, each a copy of tinybert_mini with other values in its file."""
    first = Path("params/systems/tinybert_mini.yaml")
    for name, changes in changed.items():
        file = first.with_name(f"{name}.yaml")
        file.write_text(yaml.safe_dump(yaml.safe_load(first.read_text()) | changes))
    edit_yaml(Path("params.yaml"), systems=["tinybert_mini", *changed])


def teacher(dtype=None) -> Teacher:
    return Teacher(tiny_classifier(seed=1, num_hidden_layers=4, hidden_size=32), dtype)


def keep(folder, rows):
    return score_and_keep(teacher(), rows, read_task("reviews", TaskFile), folder)


def read(folder, rows, attention=LAYERS, hidden=(0, *LAYERS), relations=()):
    return read_shared(folder, teacher(), rows, attention, list(hidden), list(relations))


def asked(num_rows=60):
    settings = read_section("intermediate_distill", IntermediateDistillSettings)
    return asked_by_systems(settings, read_task("reviews", TaskFile), teacher(), num_rows)


def intermediate(**changes) -> dict:
    terms = ["attention", "hidden", "embedding"]
    return {"intermediate_distill": {"terms": terms, **changes}}


def test_one_pass_gives_the_logits_and_the_states_of_a_pass_for_each(tmp_path):
    rows = rows_of(40)
    logits, why = keep(tmp_path / "task/kept", rows)
    assert "times less time" in why
    assert np.array_equal(logits, score_rows(teacher(), rows, None, tmp_path / "parts"))
    require_states_of_a_pass(read(tmp_path / "task/kept", rows), LAYERS)


def require_states_of_a_pass(kept, layers):
    signals, with_states = kept
    batch = collate([with_states[number] for number in (3, 17, 5)], 0)
    found = signals.signals(batch, attention=layers, hidden=True)
    own = teacher()
    own.record_attention()
    expected = own.signals(batch, attention=layers, hidden=True)
    real = batch["attention_mask"].bool()
    for layer in (0, *layers):
        torch.testing.assert_close(found.hidden[layer][real], expected.hidden[layer][real])
    for layer in layers:
        query, theirs = (each.attention[layer].query.transpose(1, 2) for each in (found, expected))
        torch.testing.assert_close(query[real], theirs[real])


def test_a_head_is_fitted_to_what_that_pass_gave(tmp_path):
    rows, folder, numbers = rows_of(40), tmp_path / "task/kept", np.array([3, 17, 30, 31])
    keep(folder, rows)
    found = read_heads_part(folder, teacher(), rows, numbers)
    chosen, model = rows_numbered(rows, numbers), teacher().model
    ours, expected = head_targets_of(model, chosen, *found), head_targets(model, chosen)
    torch.testing.assert_close(ours.pooled, expected.pooled)
    torch.testing.assert_close(ours.logits, expected.logits)
    assert read_heads_part(folder, teacher(), replace(rows, beside=rows), numbers) is None
    (file,) = folder.glob("*/logits.raw")
    file.write_bytes(file.read_bytes()[:-4])
    assert read_heads_part(folder, teacher(), rows, numbers) is None
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), layer_map=[2, 3])
    keep(tmp_path / "task/lower", rows)  # without the last layer
    assert read_heads_part(tmp_path / "task/lower", teacher(), rows, numbers) is None


def test_a_pass_that_was_cut_off_is_not_gone_on_with_for_other_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_states, "BATCH_TOKENS", 24)
    monkeypatch.setattr(teacher_states, "BATCHES_BETWEEN", 1)
    rows, folder = rows_of(40), tmp_path / "task/kept"
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        counted(patch, Teacher, "signals", dies=9)
        keep(folder, rows)
    again = counted(monkeypatch, Teacher, "signals")
    keep(folder, rows)  # the same layers: it goes on
    assert len(again) < len(teacher_states.sorted_batches(rows, 24))
    set_systems(other={"layer_map": "top"})
    keep(folder, rows)
    require_states_of_a_pass(read(folder, rows), LAYERS)
    require_states_of_a_pass(read(folder, rows, [3, 4], [0, 3, 4]), [3, 4])


def test_states_that_are_gone_or_cut_short_are_not_read(tmp_path):
    rows, folder = rows_of(10), tmp_path / "task/kept"
    keep(folder, rows)
    (file,) = folder.glob("*/states.raw")
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 4)
    assert read(folder, rows) is None
    file.unlink()
    assert read(folder, rows) is None
    assert not file.exists()


def test_what_systems_read_is_put_together():
    top = {"layer_map": "top"}
    set_systems(other=top | intermediate(terms=["hidden"]), third=intermediate(terms=["relations"]))
    steps, rows_each = 4, 32  # the tiny profile's
    edit_section(Path("params.yaml"), "loss", hidden_weight=0.5)
    found = asked(num_rows=64)
    assert found.readers == ["tinybert_mini", "other", "third"]
    assert (found.attention, found.hidden) == (LAYERS, [0, 2, 3, 4])
    assert found.relations == [4]
    assert found.num_passes == pytest.approx(3 * steps * rows_each / 64)


@pytest.mark.parametrize(
    "changes",
    [
        intermediate(terms=[]),
        intermediate(data="original"),
        intermediate(terms=["hidden"], weights={"hidden": 0.0}),
        {"vocabulary": {"max_pieces": 30}},
        {"layer_map": [3, 5]},
        intermediate(terms=["relations"], relation_layer=7),
    ],
    ids=["without terms", "other rows", "no weight", "other pieces", "no layer", "no relation"],
)
def test_a_system_that_reads_other_rows_or_none_does_not_ask(changes):
    set_systems(other=changes)
    assert asked().readers == ["tinybert_mini"]


def test_nothing_is_kept_where_no_system_asks_or_there_is_no_room(tmp_path):
    edit_section(PROFILE, "intermediate_distill", max_stored_gigabytes=1e-9)
    logits, why = keep(tmp_path / "task/kept", rows_of(10))
    assert logits is None and "allowed and free" in why
    assert not list((tmp_path / "task").rglob("*/*"))
    edit_yaml(Path("params/systems/tinybert_mini.yaml"), **intermediate(terms=[]))
    assert keep(tmp_path / "task/kept", rows_of(10)) == (None, "")
    assert not list((tmp_path / "task/kept").rglob(ABOUT))


def test_states_that_lack_a_layer_or_are_of_rows_in_other_tokens_are_not_read(tmp_path):
    rows, folder = rows_of(10), tmp_path / "task/kept"
    assert read(folder, rows) is None
    keep(folder, rows)
    assert read(folder, rows) is not None
    assert read(folder, rows, attention=[2, 3]) is None
    assert read(folder, rows, hidden=[0, 1]) is None
    assert read(folder, rows, relations=[4]) is None
    assert read(folder, replace(rows, beside=rows)) is None
    (about,) = folder.glob(f"*/{ABOUT}")
    about.write_text('{"readers": ')
    assert read(folder, rows) is None


def test_the_last_reader_removes_them(tmp_path):
    set_systems(other={})
    folder = tmp_path / "task/kept"
    keep(folder, rows_of(10))
    done_reading(folder, "tinybert_mini")
    done_reading(folder, "tinybert_mini")
    assert list(folder.glob("*/states.raw"))
    done_reading(folder, "other")
    assert not list(folder.iterdir())
    done_reading(folder, "other")  # without states there is nothing to note
    assert not list(folder.iterdir())


def test_those_of_a_tasks_earlier_pass_go_whole_or_not_and_another_tasks_stay(tmp_path):
    place = tmp_path / "reviews"
    keep(place / "old", rows_of(10))
    keep(tmp_path / "scores/other", rows_of(12))
    (place / "cut").mkdir()
    (place / "cut/states.raw").touch()
    keep(place / "new", rows_of(14))
    assert [each.name for each in place.iterdir()] == ["new"]
    assert list(tmp_path.glob(f"scores/other/*/{ABOUT}"))


def test_the_place_is_that_of_these_rows_of_this_teacher(tmp_path):
    files = [tmp_path / name for name in ("one", "two")]
    for file in files:
        file.write_text(file.name)
    rows, others = rows_of(10), rows_of(10, seed=1)
    first = shared_folder("reviews", files[0], rows, None)
    assert first == shared_folder("reviews", files[0], rows_of(10), None)
    assert first == shared_folder("reviews", files[0], rows.with_targets(labels=np.ones(10)), None)
    different = {
        first,
        shared_folder("scores", files[0], rows, None),
        shared_folder("reviews", files[0], others, None),
        shared_folder("reviews", files[1], rows, None),
        shared_folder("reviews", files[0], rows, torch.bfloat16),
        shared_folder(
            "reviews", files[0], replace(rows, first_lengths=rows.first_lengths - 1), None
        ),
    }
    assert len(different) == 6
    assert ROOT not in first.parents
