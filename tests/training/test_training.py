"""The training loop: it learns, repeats, resumes exactly, keeps the best and stops at NaN."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.refused import refused
from tests.fixtures.training import (
    SCHEDULE,
    KilledError,
    Watched,
    cut_off_at,
    fine_tuning,
    rows_of,
    run_in,
    same,
    weights_of,
)
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.teacher import Teacher
from tinybert.runtime.errors import InputError
from tinybert.text.encoded import Blocks, EncodedRows
from tinybert.training.grid import Point, best_of_grid, schedule_name
from tinybert.training.run import (
    epochs_between,
    last_checkpoint,
    num_evaluations,
    put_in_place,
)
from tinybert.training.training import train


def test_attention_is_left_to_kernels_that_need_no_plan_for_each_shape(tmp_path):
    torch.backends.cuda.enable_cudnn_sdp(True)
    train(fine_tuning(), rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_training_lowers_the_loss_and_logs_each_term(tmp_path):
    model = fine_tuning()
    longer = SCHEDULE.model_copy(update={"num_epochs": 20.0})
    history, _ = train(model, rows_of(), 0, longer, run_in(tmp_path, save_steps=500))
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    assert list(history.columns) == ["step", "epoch", "loss", "loss/label", "learning_rate"]
    np.testing.assert_allclose(history["loss"], history["loss/label"], rtol=1e-4)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    trained = []
    for seed in (0, 0, 1):
        model = fine_tuning()
        train(model, rows_of(), 0, SCHEDULE, run_in(tmp_path / str(len(trained)), seed=seed))
        trained.append(weights_of(model))
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])


def test_where_there_is_no_terminal_progress_is_told_in_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tinybert.training.trainer_settings.Lines.seconds_between", 0.0)
    train(fine_tuning(), rows_of(), 0, SCHEDULE, run_in(tmp_path))
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("test: step 8/24, loss 0.") for line in lines)


def test_a_run_that_was_cut_off_ends_with_the_same_weights_and_history(tmp_path):
    whole = fine_tuning()
    expected, _ = train(whole, rows_of(), 0, SCHEDULE, run_in(tmp_path / "whole", log_steps=2))
    cut_off_at(18, tmp_path, log_steps=2)  # of 24, after the checkpoint at 15
    # 15 is in the middle of an epoch of 8 steps, and of the two steps of a row of the history.
    assert last_checkpoint(tmp_path / "checkpoints").endswith("checkpoint-15")
    resumed = fine_tuning(seed=5)  # its own first weights must not matter
    history, _ = train(resumed, rows_of(), 0, SCHEDULE, run_in(tmp_path, log_steps=2))
    assert same(weights_of(whole), weights_of(resumed))
    pd.testing.assert_frame_equal(history, expected, check_exact=True)


def test_a_run_over_blocks_goes_on_in_the_epochs_order(tmp_path):
    np.save(tmp_path / "blocks.npy", np.random.default_rng(0).integers(5, 40, (40, 8)))
    np.save(tmp_path / "first_lengths.npy", np.full(40, 8))
    rows, ends = Blocks(tmp_path), []

    class Seeing(Watched):
        def forward(self, **batch):
            return super().forward(**batch, labels=torch.zeros_like(batch["input_ids"][:, 0]))

    for name, dies in (("whole", 0), ("cut", 8)):
        run = run_in(tmp_path / name, save_steps=7)
        if dies:
            with pytest.raises(KilledError):
                train(Seeing(dies), rows, 0, SCHEDULE, run)
        model = Seeing()
        train(model, rows, 0, SCHEDULE, run)
        # Steps 8 to 15: from the third batch of the second epoch of 5.
        ends.append([batch["input_ids"] for batch in model.seen[-8:]])
    assert same(*ends)


def test_a_run_that_came_to_its_end_is_not_done_again_before_its_outputs_are_in_place(tmp_path):
    first = fine_tuning()
    expected, _ = train(first, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    again = Exploding(tiny_classifier(seed=5), {"label": 1.0})  # would stop if it were trained
    history, _ = train(again, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert same(weights_of(first), weights_of(again))
    pd.testing.assert_frame_equal(history, expected, check_exact=True)


def test_a_run_cut_off_after_its_last_checkpoint_takes_no_step_more(tmp_path):
    cut = SCHEDULE.model_copy(update={"max_steps": 11})  # within the second epoch
    first = fine_tuning()
    expected, _ = train(first, rows_of(), 0, cut, run_in(tmp_path / "whole"))
    blocked = tmp_path / "checkpoints/finished.partial"
    blocked.parent.mkdir()
    blocked.write_text("a file where the result is to be written")
    with pytest.raises(FileExistsError):
        train(fine_tuning(), rows_of(), 0, cut, run_in(tmp_path))
    blocked.unlink()
    assert last_checkpoint(tmp_path / "checkpoints").endswith("checkpoint-11")
    again = fine_tuning(seed=5)
    history, _ = train(again, rows_of(), 0, cut, run_in(tmp_path))
    assert same(weights_of(first), weights_of(again))
    pd.testing.assert_frame_equal(history, expected, check_exact=True)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path, name, damage):
    cut_off_at(8, tmp_path)
    checkpoints = tmp_path / "checkpoints"
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-5")
    file = checkpoints / "checkpoint-5" / name
    content = file.read_bytes()
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    assert last_checkpoint(checkpoints) is None
    assert last_checkpoint(tmp_path / "none") is None
    whole, resumed = fine_tuning(), fine_tuning()
    train(whole, rows_of(), 0, SCHEDULE, run_in(tmp_path / "whole"))
    train(resumed, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert same(weights_of(whole), weights_of(resumed))


def test_a_checkpoint_whose_best_epoch_is_damaged_is_not_gone_on_from(tmp_path):
    values = iter([0.9, 0.3])

    def evaluate():
        return {"accuracy": next(values)}

    with pytest.raises(StopIteration):
        train(fine_tuning(), rows_of(), 0, SCHEDULE, run_in(tmp_path), evaluate)
    checkpoints = tmp_path / "checkpoints"
    assert last_checkpoint(checkpoints) == str(checkpoints / "checkpoint-16")
    (checkpoints / "checkpoint-8/model.safetensors").unlink()  # the best one
    assert last_checkpoint(checkpoints) is None


def test_a_finished_point_of_a_grid_is_not_trained_again(tmp_path):
    schedules = [SCHEDULE, SCHEDULE.model_copy(update={"learning_rate": 1e-3})]
    trained: list = []

    def grid(folder, seen, dies=0):
        def evaluate_model(student):
            return lambda: {"accuracy": next(student.parameters()).abs().mean().item()}

        points = [Point(schedule_name(e), e, lambda: Watched(dies, seen)) for e in schedules]
        return best_of_grid(points, rows_of(), evaluate_model, run_in(folder))

    expected = grid(tmp_path / "whole", [])
    with pytest.raises(KilledError):
        grid(tmp_path, trained, dies=30)  # in the second point's 24 steps
    student, history, choice = grid(tmp_path, trained)
    # 29 steps; after the kill the second point goes on from its 1st epoch or does all of it.
    assert len(trained) <= 30 + 24
    assert choice == expected[2]
    assert same(list(student.parameters()), list(expected[0].parameters()))
    pd.testing.assert_frame_equal(history, expected[1], check_exact=True)


def test_the_best_epoch_is_kept(tmp_path):
    model, seen = fine_tuning(), []
    values = iter([0.3, 0.9, 0.5])

    def evaluate():
        seen.append(weights_of(model))
        return {"accuracy": next(values)}

    _, best = train(model, rows_of(), 0, SCHEDULE, run_in(tmp_path), evaluate)
    assert best == 0.9
    assert same(weights_of(model), seen[1])


@pytest.mark.parametrize(
    ("num_epochs", "share", "scored", "kept"),
    [
        (5, 0.67, [16, 32, 40], [8, 16, 24, 32, 40]),  # every second one, and the end
        (5, 1.34, [32, 40], [32, 40]),  # every fourth one; checkpoints as rarely
        (6, 1.67, [48], [48]),  # not after five, eight steps before the end
        (3, 0.16, [8, 16, 24], [8, 16, 24]),
    ],
)
def test_scores_of_dev_take_a_tenth_of_the_training(
    tmp_path, monkeypatch, num_epochs, share, scored, kept
):
    model, steps, checkpoints = Watched(), [], []

    def evaluate():
        steps.append(len(model.seen))
        return {"accuracy": 0.5}

    def put(written, *rest):
        checkpoints.append(written.name)
        put_in_place(written, *rest)

    monkeypatch.setattr("tinybert.training.phase_trainer.put_in_place", put)
    num_rows = len(rows_of())
    num_evaluated = round(share * num_rows)
    schedule = SCHEDULE.model_copy(update={"num_epochs": num_epochs})
    train(model, rows_of(), 0, schedule, run_in(tmp_path), evaluate, num_evaluated)
    assert steps == scored
    assert checkpoints == [f"checkpoint-{step}" for step in kept]
    between = 8 * epochs_between(num_evaluated, num_rows)
    assert num_evaluations(8 * num_epochs, between) == len(scored)


class Exploding(Distillation):
    """A loss that is no number from the given step on."""

    bad_step, steps = 12, 0

    def forward(self, **batch):
        self.steps += 1
        terms = super().forward(**batch)
        if self.steps >= self.bad_step:
            terms["loss"] = terms["loss"] * float("nan")
        return terms


def test_a_loss_that_is_no_number_stops_with_phase_step_and_the_last_good_checkpoint(tmp_path):
    model = Exploding(tiny_classifier(), {"label": 1.0})
    line = refused(train, model, rows_of(), 0, SCHEDULE, run_in(tmp_path))
    seen = "by" if torch.cuda.is_available() else "at"  # looked at when a row is logged, there
    assert f"test: the loss became NaN or infinite {seen} step 12 of 24" in line
    assert "checkpoint-10" in line
    assert (tmp_path / "checkpoints/checkpoint-10/model.safetensors").is_file()
    if not torch.cuda.is_available():  # there the optimizer has stepped before anybody looked
        assert all(torch.isfinite(weight).all() for weight in model.student.parameters())


def test_a_checkpoint_never_holds_weights_that_are_no_numbers(tmp_path):
    class Spoiled(Distillation):
        def forward(self, **batch):
            terms = super().forward(**batch)
            with torch.no_grad():
                next(self.student.parameters()).view(-1)[0] = float("inf")
            terms["loss"] = terms["loss"] * 0 + 1.0
            return {name: torch.nan_to_num(value) for name, value in terms.items()}

    with pytest.raises(InputError, match=r"no number|NaN or infinite|became"):
        train(Spoiled(tiny_classifier(), {"label": 1.0}), rows_of(), 0, SCHEDULE, run_in(tmp_path))
    assert last_checkpoint(tmp_path / "checkpoints") is None


def test_no_rows_are_refused(tmp_path):
    empty = EncodedRows(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32), {})
    with pytest.raises(InputError, match="no rows to train on"):
        train(fine_tuning(), empty, 0, SCHEDULE, run_in(tmp_path))


def test_the_last_partial_batch_is_trained_on(tmp_path):
    rows = rows_of(num_rows=11)
    assert SCHEDULE.num_steps(2) == 6  # ceil(11 / 8) = 2 batches, 3 epochs
    model = Watched()
    train(model, rows, 0, SCHEDULE, run_in(tmp_path))
    assert sum(len(batch["input_ids"]) for batch in model.seen) == 33


def test_distillation_trains_student_and_projections_and_leaves_the_teacher(tmp_path):
    teacher = tiny_encoder(seed=1, hidden_size=32, num_hidden_layers=4)
    before = copy.deepcopy(teacher.state_dict())
    weights = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}
    model = Distillation(tiny_encoder(), weights, Teacher(teacher), [2, 4])
    rows = rows_of()
    history, _ = train(model, rows, 0, SCHEDULE, run_in(tmp_path, dtype=torch.bfloat16))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert {"loss/attention", "loss/hidden", "loss/embedding"} <= set(history.columns)
    assert all(torch.equal(before[name], now.cpu()) for name, now in teacher.state_dict().items())


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, True), (None, False)])
def test_products_in_tf32_are_made_while_layers_compute_in_bfloat16(tmp_path, dtype, allowed):
    seen = set()

    class Noting(Distillation):
        def forward(self, **batch):
            seen.add(torch.backends.cuda.matmul.allow_tf32)
            return super().forward(**batch)

    model = Noting(tiny_classifier(), {"label": 1.0})
    train(model, rows_of(16), 0, SCHEDULE, run_in(tmp_path, dtype=dtype))
    assert seen == {allowed}
    assert not torch.backends.cuda.matmul.allow_tf32  # what is scored next is scored in float32


def test_where_looking_costs_a_loss_that_is_no_number_is_seen_when_a_row_is_logged(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tinybert.runtime.precision.reads_at_once", lambda device: False)

    class Spoiled(Watched):
        def forward(self, **batch):
            terms = super().forward(**batch)
            return {**terms, "loss": terms["loss"] / (len(self.seen) != 9)}

    # Step 9 of 24 is no number; a row is logged every 2 steps.
    model = Spoiled()
    with pytest.raises(InputError, match="became NaN or infinite by step 10 of 24"):
        train(model, rows_of(), 0, SCHEDULE, run_in(tmp_path, save_steps=20))
