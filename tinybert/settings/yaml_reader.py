"""Read YAML as version 1.2 means it, which is how DVC reads and writes the same files.

PyYAML follows version 1.1: `5e-05`, as DVC writes it, is text there, `no` is false, `010` is 8,
`1:30` is 90 and `2024-01-01` a date. Here a number is a number, and what only looks like one
(`010`, `1_000`) stays the text that it is, so a label or a name never changes.
"""

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tinybert.runtime.errors import InputError

MAX_DEPTH = 50
PREFIX = "tag:yaml.org,2002:"
KINDS = ("null", "bool", "int", "float", "str", "seq", "map", "merge")
PATTERNS = {  # as in YAML's core schema, but for numbers that begin with a useless 0
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]{0,99})|0o[0-7]{1,99}|0x[0-9a-fA-F]{1,99}", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}
CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Loader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read `0o17` as 15, and `17` as 17."""
        return int(node.value.removeprefix("+"), 0)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Read `5e-05`, and `.inf` as infinity."""
        return float(re.sub(r"\.(?=[iInN])", "", node.value))


Loader.yaml_implicit_resolvers = {}  # without those of version 1.1
for _kind, (_pattern, _first) in PATTERNS.items():
    _whole = re.compile(f"(?:{_pattern})$")
    Loader.add_implicit_resolver(PREFIX + _kind, _whole, list(_first))
for _kind in ("int", "float"):
    Loader.add_constructor(PREFIX + _kind, getattr(Loader, f"construct_yaml_{_kind}"))


class _WrongError(Exception):
    """What is wrong, with its cure; and the line, from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping, without running anything it may name.

    Raises:
        InputError: The file is missing, no UTF-8, no YAML, or no mapping.
    """
    try:
        return parse_yaml(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read, got {error.strerror}; restore it from git"
        ) from error


def parse_yaml(content: bytes, place: str) -> dict[str, Any]:
    """Read a YAML mapping from a file's bytes; `place` names it.

    Raises:
        InputError: It is no UTF-8, no YAML, or no mapping.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{place}:{line}: not UTF-8, got byte 0x{content[error.start]:02x}; save the "
            "file as UTF-8"
        ) from None
    try:
        values = _values(text)
    except _WrongError as refused:
        raise InputError(f"{place}:{refused.line}: not valid YAML, {refused}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise InputError(f"{place}: must hold keys and values, got {found}; write `key: value`")
    return values


def is_text(word: str) -> bool:
    """Return whether a word without quotes is text in a file, and no number, true or null."""
    return _plain_tag(Loader(""), word) == f"{PREFIX}str"


def _plain_tag(loader: Loader, word: str) -> str:
    return str(loader.resolve(yaml.ScalarNode, word, (True, False)))  # type: ignore[no-untyped-call]


def _values(text: str) -> Any:
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_nodes(loader, root, len(text))
        return loader.construct_document(root)  # type: ignore[no-untyped-call]
    except yaml.reader.ReaderError as error:
        character, line = ord(text[error.position]), text.count("\n", 0, error.position) + 1
        raise _WrongError(f"got the character U+{character:04X}; remove it", line) from None
    except yaml.MarkedYAMLError as error:
        if found := CONFLICT.search(text):
            line = text.count("\n", 0, found.start()) + 1
            raise _WrongError(
                "got a conflict of a git merge; keep one of its sides", line
            ) from None
        mark = error.problem_mark or error.context_mark
        raise _WrongError(_reason(error), mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise _WrongError(f"got more than {MAX_DEPTH} levels; write it flat", 1) from None


def _reason(error: yaml.MarkedYAMLError) -> str:
    reason = " ".join(f"{error.problem or error.context}".split())
    if "'\\t'" in reason:
        cure = "indent with spaces, not with a tab"
    elif isinstance(error, yaml.composer.ComposerError) and "document" in f"{error.context}":
        reason, cure = "a second document", "keep one, without a line of `---`"
    else:
        cure = "mend that place; a text with : # % @ & * or brackets is written in quotes"
    return f"got {reason}; {cure}"


def _check_nodes(loader: Loader, root: yaml.Node, size: int) -> None:
    """Refuse what would be misread, or cannot be built, before it is built.

    Args:
        loader: Which resolves texts.
        root: Of the document.
        size: Of the text: without aliases there is at most one node a character.
    """
    waiting, seen = [(root, 1)], 0
    while waiting:
        node, depth = waiting.pop()
        seen, line = seen + 1, node.start_mark.line + 1
        if depth > MAX_DEPTH or seen > 10 * size + 10:
            raise _WrongError(f"got more than {MAX_DEPTH} levels, or aliases of aliases", line)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        _check_tag(loader, node, line)
        waiting += [(child, depth + 1) for child in _children(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for child in [] if isinstance(node, yaml.ScalarNode) else node.value:
        yield from child if isinstance(child, tuple) else (child,)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[Hashable, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _WrongError("got a list or a mapping as a key; write a word", line)
        if not key.value.isprintable():
            raise _WrongError(f"got the key {key.value!r}; write a word", line)
        if key.value in lines:
            raise _WrongError(
                f"got the key {key.value!r} twice, on lines {lines[key.value]} and {line}; keep "
                "one",
                line,
            )
        lines[key.value] = line


def _check_tag(loader: Loader, node: yaml.Node, line: int) -> None:
    kind = node.tag.removeprefix(PREFIX)
    plain = isinstance(node, yaml.ScalarNode)
    fits = kind in (KINDS if plain else ("seq", "map"))
    if plain and fits and kind != "str":
        fits = _plain_tag(loader, node.value) == node.tag
    elif not plain:
        fits = fits and (kind == "map") == isinstance(node, yaml.MappingNode)
    if not fits:
        raise _WrongError(f"got the tag {kind!r}; remove it", line)
    if plain and (found := UNPRINTABLE.search(node.value)):
        raise _WrongError(f"got the character U+{ord(found[0]):04X} in a text; remove it", line)
