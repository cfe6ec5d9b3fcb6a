"""Check params.yaml and params/*/*.yaml: closed schemas, every problem of a file at once.

A stage reads with literal keys (`read_param("loss.attn_weight", float)`), because a test compares
them with the `params` that dvc.yaml declares for that stage.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tinybert.runtime.errors import InputError
from tinybert.settings.yaml_reader import is_text, read_yaml

__all__ = ["read_yaml"]  # beside what is defined here

T = TypeVar("T")

PARAMS = Path("params.yaml")
MOST_SHOWN = 200  # characters of a wrong value
LONGEST_LINE = 1500  # characters; lists of known names are long


class Settings(BaseModel):
    """A closed, frozen, strictly typed group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@overload
def read_param(key: str, kind: type[T]) -> T: ...
@overload
def read_param(key: str, kind: Any) -> Any: ...
def read_param(key: str, kind: Any) -> Any:
    """Read one value, or one section, of params.yaml by its dotted key."""
    return parse(kind, select(read_yaml(PARAMS), key, PARAMS), f"{PARAMS}: {key}")


def read_section(key: str, kind: type[T]) -> T:
    """Read a stage's section, or one value by its dotted key, of the selected profile."""
    file = profile_file()
    return parse(kind, select(read_yaml(file), key, file), f"{file}: {key}")


@overload
def read_system(system: str, key: str, kind: type[T]) -> T: ...
@overload
def read_system(system: str, key: str, kind: Any) -> Any: ...
def read_system(system: str, key: str, kind: Any) -> Any:
    """Read one key of params/systems/<system>.yaml."""
    file = named_file("systems", system)
    return parse(kind, select(read_yaml(file), key, file), f"{file}: {key}")


def read_task(task: str, kind: type[T]) -> T:
    """Read params/tasks/<task>.yaml."""
    file = named_file("tasks", task)
    return parse(kind, read_yaml(file), str(file))


def profile_file() -> Path:
    """Return the path of the selected profile."""
    return named_file("profiles", read_param("profile", str))


def named_file(folder: str, name: str) -> Path:
    """Return params/<folder>/<name>.yaml.

    Raises:
        InputError: There is none; the known ones are listed.
    """
    file = Path("params") / folder / f"{name}.yaml"
    known = sorted(path.stem for path in file.parent.glob("*.yaml"))
    if name not in known:  # no look at the disk: some take no account of capitals
        near = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean {near[0]!r}? " if near else ""
        if f"{name}.yml" in (path.name for path in file.parent.glob("*.yml")):
            cure = f"rename {file.with_suffix('.yml')} to {file.name}; "
        raise InputError(
            f"{PARAMS}: {folder}: there is no {file}, got {name!r}; {cure}known: {', '.join(known)}"
        )
    return file


def read_json(file: Path, kind: Any, command: str) -> Any:
    """Read a JSON file that a stage wrote.

    Args:
        file: Where it is.
        kind: Its schema.
        command: What writes it anew.

    Raises:
        InputError: The file is missing, damaged, or of a version that wrote other keys.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        what = f"{f'{key}: ' if key else ''}{message}, got {_shown(first['input'], 60)}"
    except OSError as error:
        what = f"cannot be read, got {error.strerror}"
    except (ValueError, RecursionError) as error:
        what = f"not valid JSON, got {error}"
    raise InputError(
        f"{file}: {what}; it is damaged or of another version: delete it and run `{command}`"
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is no number")


def select(values: dict[str, Any], key: str, file: Path) -> Any:
    """Return the value at a dotted key.

    Raises:
        InputError: The key is missing; the keys next to it are listed.
    """
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            known = ", ".join(map(str, found)) if isinstance(found, dict) else "none"
            raise InputError(f"{file}: key {key!r} is missing, got {known}; add it")
        found = found[part]
    return found


@overload
def parse(kind: type[T], values: Any, place: str) -> T: ...
@overload
def parse(kind: Any, values: Any, place: str) -> Any: ...
def parse(kind: Any, values: Any, place: str) -> Any:
    """Check values against a schema and return it filled.

    Raises:
        InputError: One line for each wrong, missing or unknown key; a misspelt key gets the
            nearest known one.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        known = _fields(kind)
        lines = (_line(place, dict(item), known) for item in error.errors())
        raise InputError(*map(_cut, lines)) from error


def _cut(line: str) -> str:
    """Take the middle out of a line with a value of thousands of characters; the cure stays."""
    return line if len(line) <= LONGEST_LINE else f"{line[:500]} ... {line[-300:]}"


def _fields(kind: Any) -> dict[str, Any]:
    return dict(getattr(kind, "model_fields", {}))


def _line(place: str, item: dict[str, Any], known: dict[str, Any]) -> str:
    path = ".".join(map(str, item["loc"]))
    where = f"{place}.{path}" if ": " in place and path else f"{place}: {path}" if path else place
    if item["type"] in ("extra_forbidden", "invalid_key"):
        key = str(item["loc"][-1])
        siblings = _siblings(known, item["loc"])
        near = difflib.get_close_matches(key, siblings, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(siblings)}"
        return f"{where}: unknown key, got {key!r}; {cure}"
    if item["type"] == "missing":
        examples = getattr(known.get(path), "examples", None)
        cure = f"write `{path}: {examples[0]}`" if examples else "add it"
        return f"{where}: is missing, got nothing; {cure}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "value_error" and "; " in message:
        return f"{where}: {message}"
    return f"{where}: wrong value, got {_shown(item['input'])}; {message}{_cure(item)}"


def _shown(value: Any, most: int = MOST_SHOWN) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _cure(item: dict[str, Any]) -> str:
    """Return what to write instead, where YAML took a word for something else than was meant."""
    kind, value = str(item["type"]), item["input"]
    if kind == "string_type" and value is None:
        return ": write a text, in quotes if it is the word null"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return ": write it in quotes"
    if kind.startswith(("int_", "float_", "bool_", "finite_")) and isinstance(value, str):
        return _number_cure(value, kind)
    if kind == "list_type" and isinstance(value, str):
        return f": write [{value}]"
    if kind == "too_short":
        return ": name at least one"
    if kind.startswith(("int_", "float_", "bool_")) and value is None:
        return ": write one after the colon"
    return ""


def _number_cure(text: str, kind: str) -> str:
    if kind.startswith("bool_"):
        return ": write true or false, without quotes"
    stripped = text.strip()
    if not is_text(stripped):
        return f": write {stripped} without quotes"
    plain = re.sub(r"[_ ]|(?<=\d),(?=\d{3}\b)", "", stripped).replace(",", ".")
    plain = re.sub(r"^([-+]?)0+(?=\d)", r"\1", plain)
    return "" if is_text(plain) else f": write {plain}"


def _siblings(known: dict[str, Any], loc: tuple[Any, ...]) -> list[str]:
    fields = known
    for part in loc[:-1]:
        field = fields.get(part)
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        fields = next((_fields(kind) for kind in kinds if _fields(kind)), {})
    return list(fields)
