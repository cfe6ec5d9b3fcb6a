"""What a profile, a task or a system may be called.

DVC's stages and `-S`, files, MLflow's metrics and registered models all carry these names, and
`<system>-<task>` is one of them. So they are judged once, before anything runs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tinybert.runtime.errors import InputError
from tinybert.settings.yaml_reader import is_text

FOLDERS = {"profile": "profiles", "tasks": "tasks", "systems": "systems"}  # params.yaml's keys
SHOWN_FOLDERS = (*FOLDERS.values(), "groups", "ablations")
MAX_LENGTH = 64  # two names and an ending are one file's name, which has at most 255
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_LENGTH - 1}}}")
DEVICES = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)  # no files on Windows
TEACHER = "teacher"  # its results lie beside the systems'
RULE = (
    f"a name has up to {MAX_LENGTH} letters a-z, digits, _ and -, begins with a letter or digit, "
    "and is no number"
)


def require_names(chosen: Mapping[str, Any], place: str = "params.yaml") -> None:
    """Check the names of the chosen profile, tasks and systems.

    Args:
        chosen: Of `profile`, `tasks` and `systems` what is there; other keys are not looked at.
        place: Where they are chosen.

    Raises:
        InputError: One line for each that cannot be a name.
    """
    problems = [
        f"{place}: {key}: wrong name, got {_shown(name)}; {reason}: {_cure(folder, name)}"
        for key, folder in FOLDERS.items()
        for name in _listed(chosen.get(key))
        if (reason := _reason(key, name))
    ]
    if problems:
        raise InputError(*problems)


def require_group_name(folder: str, name: str) -> None:
    """Check the name of a chosen file of params/groups/ or params/ablations/.

    Raises:
        InputError: It cannot be a name.
    """
    if reason := _reason(folder, name):
        raise InputError(
            f"params/{folder}: wrong name, got {_shown(name)}; {reason}: {_cure(folder, name)}"
        )


def require_distinct(root: Path, systems: Sequence[str], tasks: Sequence[str]) -> None:
    """Check that no two names, or pairs of names, become one file or one registered model.

    Args:
        root: The folder of params/, whose other files count too: MLflow remembers them.
        systems: The chosen ones.
        tasks: The chosen ones.

    Raises:
        InputError: One line for each two that do.
    """
    problems = []
    for folder, names in (("systems", systems), ("tasks", tasks)):
        for name in dict.fromkeys(names):
            for other in sorted({*names, *known_names(root, folder)}):
                if other != name and other.casefold() == name.casefold():
                    one, two = sorted((name, other))
                    problems.append(
                        f"params/{folder}: two names differ in capitals alone, got {one} and "
                        f"{two}; rename one, for some disks take them for one"
                    )
    chosen: dict[str, tuple[str, str]] = {}
    for pair in product([*systems, TEACHER], tasks):
        problems += _same_name(chosen.setdefault("-".join(pair).casefold(), pair), pair)
    for pair in product([*known_names(root, "systems"), TEACHER], known_names(root, "tasks")):
        problems += _same_name(chosen.get("-".join(pair).casefold(), pair), pair)
    if problems:
        raise InputError(*dict.fromkeys(problems))


def known_names(root: Path, folder: str) -> list[str]:
    """Return the names of the files of params/<folder>/."""
    files = (root / "params" / folder).glob("*.yaml")
    return sorted(file.stem for file in files if not file.name.startswith("."))


def strange_files(root: Path) -> Iterator[str]:
    """Yield a line for each file below params/ that nothing can ever choose."""
    for folder in SHOWN_FOLDERS:
        for file in sorted((root / "params" / folder).glob("*")):
            place = f"params/{folder}/{file.name}"
            if file.suffix.lower() in (".yml", ".yaml") and file.suffix != ".yaml":
                yield f"{place}: is not read, got the ending {file.suffix}; rename it to .yaml"
            elif file.suffix == ".yaml" and _reason(folder, file.stem) and file.name[0] != ".":
                yield f"{place}: wrong name, nothing can choose it; {RULE}"


def _reason(key: str, name: Any) -> str | None:
    if not isinstance(name, str) or not NAME.fullmatch(name) or not is_text(name) or _number(name):
        return RULE
    if DEVICES.fullmatch(name):
        return "a name is none that Windows keeps for a device"
    if key == "systems" and name.lower() == TEACHER:
        return f"a system is not called {TEACHER}, whose results lie beside the systems'"
    return None


def _number(name: str) -> bool:
    """Return whether `-S` would take it for a number: `2024`, `1_000`, `nan`."""
    try:
        float(name)
    except ValueError:
        return False
    return True


def _cure(folder: str, name: Any) -> str:
    stem = re.sub(r"\.ya?ml$", "", str(name))
    if stem != str(name) and not _reason(folder, stem):
        return f"write {stem}"
    better = re.sub(r"[^A-Za-z0-9_-]+", "_", str(name)).strip("_-")[:MAX_LENGTH]
    if _reason(folder, better):
        better = f"my_{better}"[:MAX_LENGTH].rstrip("_-")
    file = f"params/{folder}/{_shown(name, quoted=False)}.yaml"
    return f"rename {file} to {better}.yaml, and write {better}"


def _shown(name: Any, *, quoted: bool = True) -> str:
    text = repr(name) if quoted else str(name)
    return text if len(text) <= MAX_LENGTH + 2 else f"{text[: MAX_LENGTH // 2]}..."


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _same_name(one: tuple[str, str], other: tuple[str, str]) -> list[str]:
    if [name.casefold() for name in one] == [name.casefold() for name in other]:
        return []
    return [
        f"params: two models would both be called {'-'.join(one)}, got system {one[0]} with task "
        f"{one[1]}, and {other[0]} with {other[1]}; rename one, with _ in the place of -"
    ]


def split_names(text: str) -> list[str]:
    """Split names at commas or spaces."""
    return text.replace(",", " ").split()
