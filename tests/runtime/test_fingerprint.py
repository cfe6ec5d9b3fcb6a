"""A run's checkpoints are named by what determines it; abandoned ones go, others stay."""

import os
import time

from tinybert.runtime.fingerprint import DAYS_KEPT, checkpoints_folder


def test_settings_inputs_and_the_number_of_processes_make_another_run(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    file = tmp_path / "rows.txt"
    file.write_text("one")
    first = checkpoints_folder("stage", {"seed": 1}, [file])
    assert first == checkpoints_folder("stage", {"seed": 1}, [file])
    others = {checkpoints_folder("stage", {"seed": 2}, [file])}
    monkeypatch.setenv("WORLD_SIZE", "2")
    others.add(checkpoints_folder("stage", {"seed": 1}, [file]))
    monkeypatch.delenv("WORLD_SIZE")
    file.write_text("two")
    others.add(checkpoints_folder("stage", {"seed": 1}, [file]))
    assert len(others | {first}) == 4


def test_runs_abandoned_for_long_are_removed_and_others_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    own = checkpoints_folder("stage", {}, [])
    folders = {name: own.with_name(name) for name in (own.name, "old", "new", "at-work")}
    long_ago = time.time() - (DAYS_KEPT + 1) * 24 * 3600
    for name, folder in folders.items():
        file = folder / "0/checkpoint-5/model.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
        if name != "new":
            for path in [file, *file.parents][:4]:
                os.utime(path, (long_ago, long_ago))
    os.utime(folders["at-work"] / "0/checkpoint-5/model.safetensors")
    assert checkpoints_folder("stage", {}, []) == own
    assert {path.name for path in own.parent.iterdir()} == {own.name, "new", "at-work"}
