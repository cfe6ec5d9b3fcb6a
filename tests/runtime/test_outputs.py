"""Files and folders are written beside and renamed, whoever else writes or was killed."""

import errno
import os
import subprocess

import pytest

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import disk_space_guard, replace_file, replace_folder


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


@pytest.mark.parametrize("write", [replace_file, replace_folder])
def test_a_place_that_forbids_writing_is_named_with_its_cure(write, tmp_path):
    (tmp_path / "reports").write_text("a file where a folder should be")
    wrong = {"reports/latency/small.json": "got Not a directory; move the file away"}
    wrong["x" * 250] = "got File name too long; shorten the name"
    for place, said in wrong.items():
        with pytest.raises(InputError, match=said), write(tmp_path / place) as partial:
            partial.write_text("{}")


def test_a_folder_without_rights_is_named(tmp_path):
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/proc/version")
    said = "/proc/version: cannot be written or read, got Permission denied; give yourself"
    with pytest.raises(InputError, match=said), disk_space_guard(tmp_path):
        raise refused


def test_a_partial_file_of_another_name_is_left_alone(tmp_path):
    other = tmp_path / "scores.json.backup.partial"
    other.write_text("a user's")
    with replace_file(tmp_path / "scores.json") as partial:
        partial.write_text("whole")
    assert other.read_text() == "a user's"


def test_a_project_may_lie_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "Größe [a] (b) \u65e5\u672c $x"
    for _ in range(2):
        with replace_folder(folder / "model") as partial:
            (partial / "weights").write_text("new")
        with replace_file(folder / "scores.json") as partial:
            partial.write_text("whole")
    assert sorted(each.name for each in folder.iterdir()) == ["model", "scores.json"]
