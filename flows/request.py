"""What a flow run is asked for, checked before anything runs."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from tinybert.runtime.errors import InputError
from tinybert.settings.names import FOLDERS, known_names, require_group_name, require_names
from tinybert.settings.reader import PARAMS, Settings, parse, read_yaml

GROUPS = Path("params/groups")


class SystemGroup(Settings):
    """A file of params/groups/: systems that one table compares, on which tasks and scale.

    Attributes:
        description: For people.
        profile: A file of params/profiles.
        tasks: Files of params/tasks.
        systems: Files of params/systems.
        overrides: As `dvc exp run -S` takes them; {profile} stands for the profile that is run.
    """

    description: str
    profile: str
    tasks: list[str] = Field(min_length=1)
    systems: list[str] = Field(min_length=1)
    overrides: list[str] = Field(default_factory=list)

    def overrides_of(self, profile: str) -> list[str]:
        """Return the overrides for a profile, which need not be the group's own."""
        return [text.replace("{profile}", profile) for text in self.overrides]


class Request(Settings):
    """Parameters of a flow run; what is not given stays as params.yaml has it.

    Attributes:
        profile: A file of params/profiles.
        tasks: Files of params/tasks.
        systems: Files of params/systems.
        overrides: `key=value`, as `dvc exp run -S` takes them.
        targets: Stages to bring up to date with all they need, as `general_distill` or
            `evaluate@tinybert4-mrpc`; none: the whole pipeline.
        experiment: Name of the DVC experiment that keeps the result; none: it is not kept as one.
        group: A file of params/groups, whose profile, tasks and systems count where none is given,
            and its overrides before those given.
    """

    profile: str | None = None
    tasks: list[str] | None = Field(default=None, min_length=1)
    systems: list[str] | None = Field(default=None, min_length=1)
    overrides: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    experiment: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    group: str | None = None
    _overrides_of_group: list[str] = PrivateAttr(default_factory=list)

    def all_overrides(self) -> list[str]:
        """Return profile, tasks, systems and the group's overrides before the others.

        Raises:
            InputError: Something cannot be a name, so it cannot be an override either.
        """
        require_names({key: getattr(self, key) for key in FOLDERS}, "parameters")
        found = [] if self.profile is None else [f"profile={self.profile}"]
        for key, names in (("tasks", self.tasks), ("systems", self.systems)):
            if names is not None:
                found.append(f"{key}=[{','.join(names)}]")
        return [*found, *self._overrides_of_group, *self.overrides]

    def title(self) -> str:
        """Return a short name that tells runs apart."""
        chosen = self.all_overrides()
        if self.group is not None:
            chosen = [f"group {self.group}", *self.overrides]
        return ", ".join([*chosen, *self.targets]) or "as params.yaml says"


def read_group(root: Path, name: str) -> SystemGroup:
    """Read a group by name.

    Raises:
        InputError: There is none, or its file is wrong.
    """
    known = sorted(file.stem for file in (root / GROUPS).glob("*.yaml"))
    if name not in known:
        raise InputError(f"group: unknown, got {json.dumps(name)}; known: {', '.join(known)}")
    require_group_name("groups", name)
    file = GROUPS / f"{name}.yaml"
    return parse(SystemGroup, read_yaml(root / file), str(file))


def read_request(parameters: Mapping[str, Any], root: Path = Path()) -> Request:
    """Read a flow's parameters; None stands for what is not given.

    Args:
        parameters: Others than `Request`'s are not looked at.
        root: The workspace, for the group's file.

    Raises:
        InputError: One line for each that is wrong.
    """
    given = {key: parameters.get(key) for key in Request.model_fields}
    wanted = {key: value for key, value in given.items() if value is not None}
    request = parse(Request, wanted, "parameters")
    if request.group is None:
        return request
    group = read_group(root, request.group)
    changes = {key: getattr(group, key) for key in FOLDERS if getattr(request, key) is None}
    found = request.model_copy(update=changes)
    found._overrides_of_group = group.overrides_of(request.profile or group.profile)
    return found


def require_known_names(root: Path) -> None:
    """Check that params.yaml names existing profile, task and system files.

    Raises:
        InputError: One line for each that cannot be a name, or does not exist, with the known ones.
    """
    params = read_yaml(root / PARAMS)
    require_names(params)
    problems = []
    for key, folder in FOLDERS.items():
        value = params.get(key)
        names = value if isinstance(value, list) else [value]
        known = known_names(root, folder)
        unknown = [json.dumps(name) for name in names if name not in known]
        if unknown:
            problems.append(f"{key}: unknown, got {', '.join(unknown)}; known: {', '.join(known)}")
    if problems:
        raise InputError(*problems)


def require_valid_params(root: Path, variants: Sequence[Path] = ()) -> None:
    """Check every value of the params files, as each stage will.

    Args:
        root: The workspace.
        variants: Folders with other params files, to check instead of the workspace's.

    Raises:
        InputError: One line for each that is wrong.
    """
    done = subprocess.run(
        [sys.executable, "-m", "stages._check_params", *map(str, variants)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise InputError(*(lines or ["params: refused without a reason"]))
