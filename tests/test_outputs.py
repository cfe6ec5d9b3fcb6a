"""Files and folders are written beside and renamed, whoever else writes or was killed."""

import os
import subprocess

import pytest

from tinybert.outputs import replace_file, replace_folder


def test_what_a_killed_process_left_is_removed_and_a_living_ones_work_is_not(tmp_path):
    file = tmp_path / "scores.json"
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f"scores.json.{dead.pid}.partial"
    written_now = tmp_path / f"scores.json.{os.getppid()}.partial"
    anothers = tmp_path / f"other.json.{dead.pid}.partial"
    for each in (left, written_now, anothers):
        each.write_text("half")
    with replace_file(file) as partial:
        partial.write_text("whole")
    assert file.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == sorted([file, written_now, anothers])


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    file = tmp_path / "scores.json"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(file) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_a_folder_takes_the_place_of_the_old_one_and_of_what_killed_processes_left(tmp_path):
    folder = tmp_path / "model"
    for name, file in (("model", "old"), ("model.partial", "half"), ("model.old.partial", "older")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(file)
    with replace_folder(folder) as partial:
        (partial / "weights").write_text("new")
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in folder.iterdir()] == ["weights"]
