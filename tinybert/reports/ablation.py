"""Named groups of ablations: the files of params/ablations/, and what the paper printed of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tinybert.core.errors import InputError
from tinybert.settings.names import require_group_name
from tinybert.settings.reader import Settings, parse, read_yaml

FULL = "full"  # the system as it is: in every group, and written in none
FOLDER = Path("params/ablations")
PUBLISHED = Path(__file__).parent / "published.yaml"
PLACEHOLDER = re.compile(r"\{(\w+)\}")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]  # part of an experiment's name


class Ablation(Settings):
    """One experiment: overrides as `dvc exp run -S` takes them, with {system} and {profile}."""

    description: str
    overrides: list[str] = Field(min_length=1)


class AblationGroup(Settings):
    """A file of params/ablations/."""

    description: str
    experiments: dict[Name, Ablation] = Field(min_length=1)


@dataclass(frozen=True)
class Planned:
    """One experiment of the chosen groups.

    Attributes:
        name: `full`, or the ablation's.
        groups: The groups it belongs to.
        overrides: What is changed for it.
    """

    name: str
    groups: tuple[str, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """The paper's table of ablations, on dev, times 100."""

    columns: list[str]
    rows: Mapping[str, list[float]]


def group_names(root: Path) -> list[str]:
    """Return the names of all groups."""
    return sorted(file.stem for file in (root / FOLDER).glob("*.yaml"))


def read_groups(root: Path, names: Sequence[str]) -> dict[str, AblationGroup]:
    """Read groups by name.

    Raises:
        InputError: One line for each that does not exist, or each wrong key of one.
    """
    known = group_names(root)
    problems = [
        f"groups: unknown, got {name!r}; known: {', '.join(known)}"
        for name in names
        if name not in known
    ]
    groups: dict[str, AblationGroup] = {}
    for name in (name for name in names if name in known):
        try:
            require_group_name("ablations", name)  # part of a tag of MLflow, set at the very end
            groups[name] = _read_group(root, FOLDER / f"{name}.yaml")
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(*problems)
    return groups


def _read_group(root: Path, file: Path) -> AblationGroup:
    group = parse(AblationGroup, read_yaml(root / file), str(file))
    if FULL in group.experiments:
        raise InputError(
            f"{file}: experiments: {FULL} is in every group by itself, got it written out; remove "
            "it"
        )
    for name, ablation in group.experiments.items():
        found = {word for text in ablation.overrides for word in PLACEHOLDER.findall(text)}
        if strange := found - {"system", "profile"}:
            raise InputError(
                f"{file}: experiments.{name}: unknown placeholder, got "
                f"{', '.join(f'{{{word}}}' for word in sorted(strange))}; known: {{system}}, "
                "{profile}"
            )
    return group


def plan(groups: Mapping[str, AblationGroup], system: str, profile: str) -> list[Planned]:
    """Return the groups' experiments, each once: `full`, the published ones in order, others.

    Raises:
        InputError: Two groups mean different things by one name.
    """
    found = {FULL: Planned(FULL, tuple(groups), ())}
    for group, file in groups.items():
        for name, ablation in file.experiments.items():
            filled = tuple(_filled(text, system, profile) for text in ablation.overrides)
            before = found.get(name, Planned(name, (), filled))
            if before.overrides != filled:
                raise InputError(
                    f"{FOLDER / group}.yaml: experiments.{name}: another group has other overrides "
                    f"by this name, got {', '.join(filled)}; rename one"
                )
            found[name] = Planned(name, (*before.groups, group), filled)
    order = {name: place for place, name in enumerate(read_published().rows)}
    return sorted(found.values(), key=lambda each: order.get(each.name, len(order)))


def _filled(override: str, system: str, profile: str) -> str:
    # No str.format: a value may have braces of its own.
    return override.replace("{system}", system).replace("{profile}", profile)


def read_published() -> Published:
    """Read the paper's table."""
    table = read_yaml(PUBLISHED)["ablation_dev"]
    return Published(table["columns"], table["rows"])
