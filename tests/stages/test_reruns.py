"""What a change of code makes DVC run again, asked of the real graph with made-up outputs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from stages import NAMES
from tests.fixtures.clones import make_clone, run


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone in which DVC takes every stage for finished."""
    folder = make_clone(tmp_path_factory.mktemp("clone"))
    with Repo(str(folder)) as repo:
        made = {Path(out.fs_path) for stage in repo.index.stages for out in stage.outs}
        read = {Path(dep.fs_path) for stage in repo.index.stages for dep in stage.deps}
    for path in sorted(made | read):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir()
    run(folder, "dvc", "commit", "--force", "--quiet")
    assert not changed(folder)
    return folder


@pytest.fixture
def touched(clone: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The clone with one file of the library changed."""
    file = clone / request.param
    before = file.read_bytes() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((before or b"") + b"# touched\n")
    yield clone
    if before is None:
        file.unlink()
    else:
        file.write_bytes(before)


def changed(folder: Path) -> set[str]:
    """Return the stages whose own dependencies differ from what they last ran with."""
    status = run(folder, "dvc", "status", "--json")
    return {name.partition("@")[0] for name in json.loads(status.splitlines()[0])}


@pytest.mark.parametrize("touched", ["tinybert/reports/page.py"], indirect=True)
def test_a_touched_report_trains_nothing_again(touched):
    assert changed(touched) == {"model_card", "report", "track"}


@pytest.mark.parametrize("touched", ["tinybert/augmentation/sampling.py"], indirect=True)
def test_touched_augmentation_leaves_general_distillation(touched):
    assert changed(touched) == {"augment", "teacher_logits"}


@pytest.mark.parametrize("touched", ["tinybert/tasks/labels.py"], indirect=True)
def test_touched_readers_of_tasks_leave_what_sees_no_task(touched):
    no_task = {"prepare_corpus", "fetch_teacher", "word_vectors", "general_distill"}
    assert changed(touched) & (no_task | {"prepare_task"}) == {"prepare_task"}


@pytest.mark.parametrize(
    "touched", ["tinybert/doctor/pace.py", "tinybert/runtime/__pycache__/a.pyc"], indirect=True
)
def test_the_doctor_and_byte_code_are_no_dependencies(touched):
    assert changed(touched) == set()


@pytest.mark.parametrize("touched", ["tinybert/runtime/outputs.py"], indirect=True)
def test_what_everything_stands_on_reruns_everything(touched):
    assert changed(touched) == set(NAMES)
