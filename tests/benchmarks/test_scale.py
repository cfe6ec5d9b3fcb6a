"""The calculator of what many GPUs take, against numbers worked out by hand."""

import json
import sys

import pytest

from benchmarks import scale
from benchmarks.scale import Machine, Work, forecast, read_gpus, work_of
from tinybert.runtime.errors import InputError

# A row of 100 tokens costs 8 + 2 operations; rows are computed at 10 * 0.5 = 5 operations a second.
WORK = Work(teacher=8.0, student=2.0, gradients=80, length=100)
MACHINE = Machine(rate=10.0, share=0.5, launch=0.0, link=20.0, network=10.0, overlap=0.0)


def test_one_gpu_computes_and_sends_nothing():
    found = forecast(WORK, MACHINE, gpus=1, rows=4, tokens=4000)
    assert found.computing == 8.0  # 4 rows x 10 operations / 5
    assert found.sending == 0.0
    assert found.steps == 10  # 4,000 / (4 x 100)
    assert found.hours == pytest.approx(80 / 3600)


def test_a_ring_sends_most_of_the_bytes_twice_and_is_as_fast_as_its_slowest_link():
    # 2 x 3/4 x 80 = 120 bytes at 20 a second within a node; 2 x 15/16 x 80 = 150 at 10 outside it.
    assert forecast(WORK, MACHINE, gpus=4, rows=16, tokens=1).sending == 6.0
    assert forecast(WORK, MACHINE, gpus=16, rows=64, tokens=1).sending == 15.0


def test_a_step_ends_no_sooner_than_its_kernels_are_launched_and_overlap_hides_sending():
    slow = Machine(10.0, 0.5, launch=3.0, link=20.0, network=10.0, overlap=0.75)
    found = forecast(WORK, slow, gpus=4, rows=4, tokens=1)
    assert found.computing == 3.0  # one row a GPU would be 2
    assert found.step == 3.0 + 0.25 * 6.0


def test_the_same_rows_over_more_gpus_take_the_same_steps_and_less_time_each():
    one, two = (forecast(WORK, MACHINE, gpus, rows=8, tokens=8000) for gpus in (1, 2))
    assert (one.steps, two.steps) == (10, 10)
    assert (one.computing, two.computing) == (16.0, 8.0)


def test_berts_row_costs_what_the_formula_says_and_its_student_sends_every_weight():
    work = work_of("bert", 128)
    # Per layer and token, 2 x (4 d^2 + 2 d f + 2 L d), as in Table 1 of the paper: 22.5 and 1.2 G.
    teacher = 128 * 12 * 2 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 128 * 768)
    student = 128 * 4 * 2 * (4 * 312**2 + 2 * 312 * 1200 + 2 * 128 * 312)
    projections = 2 * 5 * 312 * 768 * 128  # W_e and four W_h
    assert work.teacher == teacher
    assert work.student == 3 * (student + projections)
    embeddings = (30522 + 512 + 2) * 312 + 2 * 312
    layer = 4 * (312 * 312 + 312) + 2 * 312 * 1200 + 1200 + 312 + 2 * 2 * 312
    pooler = 312 * 312 + 312
    weights = embeddings + 4 * layer + pooler + 5 * 312 * 768
    assert work.gradients == 4 * weights


def test_the_table_follows_from_a_results_file(monkeypatch, tmp_path, capsys):
    file = tmp_path / "general_step-bert.json"
    file.write_text(json.dumps({"results": [{"usual_matrix_rate": 1e12, "usual_share": 0.5}]}))
    monkeypatch.setattr(scale, "work_of", lambda *_: Work(3e9, 1e9, 10**6, 128))
    command = ["scale", "--results", str(file), "--gpus", "1,2", "--tokens", "32768e3"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("COLUMNS", "200")
    scale.main()
    printed = capsys.readouterr().out
    assert "1 TFLOP/s measured in large products, of which a step reaches 50%" in printed
    # 256 rows x 4e9 / 5e11 = 2,048 ms a step; 32,768,000 / (256 x 128) = 1,000 steps.
    cells = [cell.strip() for cell in printed.splitlines()[-3].split("│")[1:]]
    assert cells[:4] == ["1", "256", "1,000", "2048.0"]


@pytest.mark.parametrize("text", ["", "1,x", "0", "8,-1"])
def test_no_numbers_of_gpus_are_refused(text):
    with pytest.raises(InputError, match=r"--gpus: are no numbers of GPUs, got .*; write 1,8,64"):
        read_gpus(text)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--rate: no such rate, got None"),
        (["--rate", "1e12", "--share", "40"], "--share: no such share, got 40.0"),
        (["--rate", "1e12", "--share", "0.4", "--overlap", "2"], "--overlap: is no share, got 2.0"),
        (["--results", "nowhere.json"], "nowhere.json holds no result, got FileNotFoundError"),
    ],
)
def test_what_was_not_measured_is_asked_for(options, reason):
    with pytest.raises(InputError, match=reason):
        scale.read_machine(scale.parser().parse_args(options))
