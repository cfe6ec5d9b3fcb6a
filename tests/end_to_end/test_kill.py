"""A training stage killed at any moment and run again leaves what one never killed leaves."""

import random
import shutil
from pathlib import Path

import pytest

from stages import TRAINING
from tests.fixtures.killing import (
    PIPELINE,
    SYSTEM,
    Moment,
    Stage,
    copy_of,
    make_longer_workspace,
    outputs,
    run_stage,
)


def assert_killed_and_run_again_is_the_same(
    before: Path, expected: dict[str, bytes], stage: Stage, *moments: Moment
) -> None:
    """Kill a stage in a copy of the workspace, run it again and compare every file."""
    place = [stage.events[each - 1] if isinstance(each, int) else each for each in moments]
    copy = copy_of(before, "killed")
    try:
        for moment in moments:
            code = run_stage(copy, stage, moment)
            assert code == -9 or isinstance(moment, float), place
            for name, content in outputs(copy).items():  # whole, or not there
                assert ".partial" in name or content == expected[name], (place, name)
        assert run_stage(copy, stage) == 0, place
        found = outputs(copy)
        assert found.keys() == expected.keys(), place
        assert [name for name in expected if found[name] != expected[name]] == [], place
        left = {path for path in copy.glob("checkpoints/*/*") if path.name != "lock"}
        left = {path.parent.name for path in left if path.suffix != ".made"}
        assert left <= {"right_params", "tracking", "doctor"}, place  # markers; no weights
    finally:
        shutil.rmtree(copy)


@pytest.mark.slow
def test_a_stage_killed_in_mid_checkpoint_and_before_its_outputs_ends_the_same(tmp_path):
    folder = make_longer_workspace(tmp_path / "workspace")
    for stage in (PIPELINE[0], PIPELINE[1]):
        assert run_stage(folder, stage) == 0
    before, stage = copy_of(folder, "before"), Stage("general_distill", (SYSTEM,))
    assert run_stage(folder, stage) == 0
    moments = ("partial/checkpoint-16", "models/general")
    assert_killed_and_run_again_is_the_same(before, outputs(folder), stage, *moments)


@pytest.mark.slow
def test_every_training_stage_killed_at_any_moment_ends_the_same(tmp_path):
    folder, rng = make_longer_workspace(tmp_path / "workspace"), random.Random(0)
    for stage in PIPELINE:
        before = copy_of(folder, "before")
        assert run_stage(folder, stage) == 0, stage
        if stage.name in TRAINING:
            expected = outputs(folder)
            events = {stage.first("partial/checkpoint", number=8)}  # in the second one
            events |= {stage.first("finished.partial"), stage.first("models/")}
            events |= {stage.first("reports/"), len(stage.events)}
            events |= {len(stage.events) - 3}  # while the checkpoints are removed
            events |= set(rng.sample(range(1, len(stage.events)), 6))
            times = [rng.uniform(0.1, 1.0) * stage.seconds for _ in range(3)]
            for moment in [*sorted(events), *times]:
                assert_killed_and_run_again_is_the_same(before, expected, stage, moment)
        shutil.rmtree(before)
