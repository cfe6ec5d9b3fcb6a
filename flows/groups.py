"""Named groups of systems: the files of params/groups/."""

import json
from pathlib import Path

from pydantic import Field

from tinybert.core.errors import InputError
from tinybert.core.settings.names import require_group_name
from tinybert.core.settings.reader import Settings, parse, read_yaml

GROUPS = Path("params/groups")


class SystemGroup(Settings):
    """A file of params/groups/: systems that one table compares, on which tasks and scale."""

    description: str
    profile: str
    tasks: list[str] = Field(min_length=1)
    systems: list[str] = Field(min_length=1)


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
    group: SystemGroup = parse(SystemGroup, read_yaml(root / file), str(file))
    return group
