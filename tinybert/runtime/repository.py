"""DVC keeps its files beside git's, and an experiment beside a commit: say so before DVC does."""

import os
import subprocess
from pathlib import Path

from tinybert.runtime.errors import InputError

CURE = "`git init && git add -A && git commit -m start`"


def require_commit(root: Path) -> None:
    """Check that a folder is in a git repository with a commit that has the pipeline.

    Raises:
        InputError: It is not; with the command that mends it.
    """
    if reason := _refusal(root, "rev-parse", "--git-dir"):
        if "not a git repository" in reason:
            raise InputError(f"{root}: DVC needs a git repository, got none; {CURE}")
        raise InputError(f"{root}: git cannot be used, got {reason}; mend that")
    if _refusal(root, "rev-parse", "--verify", "HEAD^{commit}"):
        raise InputError(f"{root}: DVC needs a commit, got a repository without one; {CURE}")
    if _refusal(root, "cat-file", "-e", "HEAD:./dvc.yaml"):
        raise InputError(
            f"{root}: DVC needs the pipeline in git, got a commit without dvc.yaml; `git add -A && "
            "git commit -m start`"
        )


def _refusal(root: Path, *command: str) -> str | None:
    """Return why git refuses a command; None where it does not."""
    try:
        done = subprocess.run(
            ["git", *command],
            cwd=root,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "no such command: install git"
    return " ".join(done.stderr.split()) or "no reason" if done.returncode else None
