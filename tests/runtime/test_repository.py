"""Without git, or without a commit, one line says what to type."""

import os
import shutil
import subprocess
import sys

import pytest

from flows.experiments import Asked, require_valid
from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.runtime.repository import CURE, require_commit


def git(folder, *command):
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_every_step_to_a_commit_is_asked_for(project):
    expected = f"{project}: DVC needs a git repository, got none; {CURE}"
    assert refused(require_commit, project) == expected
    git(project, "init", "-q")
    with pytest.raises(InputError, match="got a repository without one; `git init && git add -A"):
        require_commit(project)
    git(project, "commit", "-qm", "empty", "--allow-empty")
    with pytest.raises(InputError, match=r"got a commit without dvc\.yaml; `git add -A"):
        require_commit(project)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "start")
    require_commit(project)
    git(project, "checkout", "-q", "--detach")
    (project / "params.yaml").write_text("profile: demo\n")
    require_commit(project)  # changes and no branch are nothing wrong


def test_a_repository_that_git_refuses_is_refused_with_its_reason(project):
    git(project, "init", "-q")
    (project / ".git/config").write_text("[core\n")
    with pytest.raises(InputError, match=r"git cannot be used, got fatal: bad config"):
        require_commit(project)


def test_without_the_command_git_it_is_named(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(InputError, match="install git"):
        require_commit(project)


def test_experiments_are_refused_without_a_commit(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(InputError, match="git init"):
        require_valid(project, [Asked("a", ["seed=1"])], queued=True)


@pytest.mark.parametrize("target", ["demo", "glue", "sweep", "ablation"])
def test_make_says_so_before_it_installs_anything(project, target):
    for command in (None, ("init", "-q")):
        if command:
            git(project, *command)
        done = subprocess.run(
            ["make", target, "PYTHON=none"], cwd=project, capture_output=True, text=True
        )
        assert done.returncode != 0
        assert f"got none; {CURE}" in done.stdout
        assert not (project / ".venv").exists()


def test_what_dvc_could_not_resolve_is_said_before_it_tries(project):
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "start")
    text = (project / "params.yaml").read_text().replace("[doc_subject,", "[my.v2,")
    (project / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "flows.side_by_side"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("params.yaml: tasks: wrong name, got 'my.v2'")
