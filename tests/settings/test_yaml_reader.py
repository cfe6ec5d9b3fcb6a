"""YAML 1.2, as DVC writes it: what is a number, what stays text, what is refused with its line."""

import pytest
from ruamel.yaml import YAML

from tests.fixtures.refused import refused
from tinybert.settings.yaml_reader import is_text, parse_yaml


def value(text: str):
    return parse_yaml(f"a: {text}".encode(), "f.yaml")["a"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *((text, 5e-5) for text in ("5e-05", "5e-5", "0.00005")),
        *((text, 2e-5) for text in ("2.0E-5", "2e-5")),
        *((text, 1e5) for text in ("1E5", "1e+5")),
        *(("1e-5", 1e-5), ("-1e-3", -1e-3), ("+.5", 0.5), ("5.", 5.0), (".5e-3", 5e-4)),
        *((".inf", float("inf")), ("-.INF", float("-inf"))),
        *(("12", 12), ("+12", 12), ("-3", -3), ("0", 0), ("0x10", 16), ("0o17", 15)),
    ],
)
def test_numbers_are_those_of_yaml_1_2_which_dvc_reads_too(text, number):
    assert value(text) == number
    assert type(value(text)) is type(number)
    assert YAML(typ="safe").load(f"a: {text}")["a"] == number


@pytest.mark.parametrize(
    "text", "010 1_000 1:30 yes no on off y 2024-01-01 = 1.2.3 0b11 e5".split()
)
def test_what_only_looks_like_a_number_or_a_switch_stays_the_text_it_is(text):
    assert value(text) == text
    assert is_text(text)


@pytest.mark.parametrize("text", ["true", "False", "TRUE"])
def test_true_and_false_are_switches(text):
    assert value(text) is (text.lower() == "true")


@pytest.mark.parametrize("text", ["~", "null", "Null", ""])
def test_null_and_nothing_are_none(text):
    assert value(text) is None
    assert not is_text(text)


def test_a_number_of_thousands_of_digits_is_text_and_no_traceback():
    assert value("9" * 5000) == "9" * 5000


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(mark, end):
    assert parse_yaml(f"{mark}a: 1{end}b: x{end}".encode(), "f.yaml") == {"a": 1, "b": "x"}


def test_anchors_and_merges_are_read():
    text = "a: &rates [1e-5, 2e-5]\nb: *rates\nc: &c {x: 1}\nd: {<<: *c, y: 2}\n"
    values = parse_yaml(text.encode(), "f.yaml")
    assert values["b"] == [1e-5, 2e-5]
    assert values["d"] == {"x": 1, "y": 2}


LAUGHS = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: not valid YAML, got the key 'a' twice, on lines 1 and 3"),
        ("x:\n  a: 1\n  a: 1\n", "twice, on lines 2 and 3"),
        ("1: x\n'1': y\n", "twice"),
        ("a: [1\nb: 2\n", "f.yaml:"),
        ("a:\n\tb: 1\n", "f.yaml:2: not valid YAML, got found character '\\t'"),
        ("a:\n\tb: 1\n", "indent with spaces, not with a tab"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: not valid YAML, got a second document"),
        ("a: b: c\n", "in quotes"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", "conflict of a git merge"),
        ("a: &x x\n" + "b: " + "[" * 400 + "]" * 400, "levels"),
        ("b: " + "[" * 5000 + "]" * 5000, "levels"),
        ("b: " + "{a: " * 100 + "1" + "}" * 100, "levels"),
        ("a: &a [lol]\n" + LAUGHS, "aliases"),
        ("a: &a [*a]\n", "levels"),
        ("a: &a {<<: *a}\n", "levels"),
        ("a: *nothing\n", "f.yaml:1: not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1: not valid YAML, got the tag"),
        ("a: !!int x\n", "got the tag 'int'; remove it"),
        ("a: !!timestamp x\n", "got the tag"),
        ("a: !!set {x, y}\n", "got the tag"),
        ("a: !!binary x\n", "got the tag"),
        ("a: !!map x\n", "got the tag"),
        ("? [a]\n: b\n", "got a list or a mapping as a key"),
        ("? {a: b}\n: b\n", "got a list or a mapping as a key"),
        ('"a\\nb": 1\n', "got the key 'a\\nb'"),
        ("a: x\0y\n", "f.yaml:1: not valid YAML, got the character U+0000"),
        ('b: 1\na: "\\ud800"\n', "f.yaml:2: not valid YAML, got the character U+D800 in a text"),
        ('a: "\\0"\n', "got the character U+0000 in a text"),
        ("a: \u00e4\n".encode("latin-1"), "f.yaml:1: not UTF-8, got byte 0xe4; save"),
        ("a: 1\n".encode("utf-16"), "f.yaml:1: not UTF-8, got byte 0xff; save"),
        ("", "f.yaml: must hold keys and values, got nothing"),
        ("# only a comment\n", "got nothing"),
        ("- a\n", "got list"),
        ("a\n", "got str"),
        ("a: <<\n", "f.yaml:1: not valid YAML"),
        ("a: {<<: 1}\n", "f.yaml:1: not valid YAML"),
        ("%YAML 3.0\n---\na: 1\n", "f.yaml:1: not valid YAML"),
        ("@a: 1\n", "f.yaml:1: not valid YAML"),
    ],
)
def test_what_cannot_be_read_gets_one_line_with_its_place(content, expected):
    raw = content if isinstance(content, bytes) else content.encode()
    line = refused(parse_yaml, raw, "f.yaml")
    assert expected in line
    assert line.startswith("f.yaml:")
