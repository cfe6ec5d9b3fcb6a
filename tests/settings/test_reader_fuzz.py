"""Whatever a params file, an override or a sweep says: settings, or lines; never a traceback."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import dumps_yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.overrides import params_changed
from flows.request import SystemGroup
from flows.sweep import split_values
from stages._check_params import SECTIONS, ParamsFile, check_params
from tests.fixtures.workspace import ROOT, copy_params, read_yaml
from tinybert.reports.ablation import AblationGroup
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse, read_task
from tinybert.settings.systems import SystemFile
from tinybert.settings.yaml_reader import parse_yaml
from tinybert.tasks.task_file import TaskFile
from tinybert.tracking.record import flat

FIXTURES = [HealthCheck.function_scoped_fixture]
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=FIXTURES)
FEW = settings(QUICK, max_examples=25)
SCHEMAS = {
    "params.yaml": ParamsFile,
    "params/systems/tinybert_mini.yaml": SystemFile,
    "params/systems/pkd4.yaml": SystemFile,
    "params/tasks/mrpc.yaml": TaskFile,
    "params/groups/small.yaml": SystemGroup,
    "params/ablations/phases.yaml": AblationGroup,
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        ["no", "5e-05", "010", "1_000", "9" * 5000, "../x", "a\nb", "${seed}", "x" * 300]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.text(
    st.sampled_from("ab1.0:-[]{}&*!|>'\"%@#,?~<= \n\t\r\0\ufeff\u2028eE_+x"), max_size=60
)


WORDS = st.text(st.sampled_from("ab1.=:-_"), min_size=1, max_size=5)


def bracketed(words: list[str]) -> str:
    return f"[{','.join(words)}]"


def lines_of(error: InputError) -> None:
    assert error.problems
    for line in error.problems:
        assert len(line.splitlines()) == 1, line
        assert len(line) < 2000


@contextmanager
def refused_in_lines() -> Iterator[None]:
    """Let what the block does be refused, if by lines."""
    try:
        yield
    except InputError as error:
        lines_of(error)


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    listed = enumerate(values) if isinstance(values, list) else ()
    for key, child in values.items() if isinstance(values, dict) else listed:
        yield from places(child, (*path, key))


def replaced(values: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = values.copy()
    copy[path[0]] = replaced(values[path[0]], path[1:], value)
    return copy


@QUICK
@given(st.binary(max_size=200) | TEXTS.map(str.encode))
@example(b"a: !!timestamp x")
@example(b"? [a]\n: b")
def test_any_bytes_are_a_mapping_or_one_line(content):
    try:
        values = parse_yaml(content, "params.yaml")
    except InputError as error:
        lines_of(error)
        assert len(error.problems) == 1
    else:
        assert isinstance(values, dict)
        flat({str(key): value for key, value in values.items()})


def plain(values: Any) -> bool:
    """Return whether keys are words, and nothing holds a character that no editor shows."""
    if isinstance(values, dict):
        return all(isinstance(key, str) and key.isprintable() for key in values) and all(
            map(plain, values.values())
        )
    if isinstance(values, list):
        return all(map(plain, values))
    return not isinstance(values, str) or values.replace("\n", "").isprintable()


@QUICK
@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
@example({"a": ["5e-05", "no", "010", "1:30", "=", "<<", 5e-05, 1e22, 5e-324, "a\nb", True]})
def test_what_dvc_writes_is_read_as_the_same_values_or_refused(values):
    try:
        read = parse_yaml(dumps_yaml(values).encode("utf-8", "surrogatepass"), "f.yaml")
    except InputError as error:
        lines_of(error)
        assert not plain(values), error
    else:
        if plain(values):
            assert repr(read) == repr(values)  # it tells 1 from 1.0 and true, and knows nan


@QUICK
@given(st.data())
@pytest.mark.parametrize("file", SCHEMAS)
def test_any_value_at_any_key_of_a_file_gives_settings_or_lines(file, data):
    right = read_yaml(ROOT / file)
    parse(SCHEMAS[file], right, file)
    path = data.draw(st.sampled_from(sorted(places(right), key=str)))
    with refused_in_lines():
        parse(SCHEMAS[file], replaced(right, path, data.draw(VALUES)), file)


@QUICK
@given(st.data())
@pytest.mark.parametrize("profile", ["demo", "paper"])
def test_any_value_at_any_key_of_a_profile_gives_settings_or_lines(profile, data):
    sections = read_yaml(ROOT / f"params/profiles/{profile}.yaml")
    name = data.draw(st.sampled_from(sorted(SECTIONS)))
    path = data.draw(st.sampled_from(sorted(places(sections[name]), key=str)))
    with refused_in_lines():
        parse(SECTIONS[name], replaced(sections[name], path, data.draw(VALUES)), name)


TASK_PIECES = [b"files:", b"hub:", b"{train: a.csv}", b"columns:", b"sentence1", b"label", b"text"]
TASK_PIECES += [b"labels:", b"[no, yes]", b"label_words:", b"{0: no}", b"kind: regression", b"\n"]
TASK_PIECES += [b"  ", b"\n  ", b": ", b"- ", b"&a ", b"*a", b"!!str ", b"\t", b"\r\n", b"\xff"]
TASK_PIECES += [b"\xef\xbb\xbf", b"\0", b"1e5", b"null", *(bytes([each]) for each in b"{}[]'\"#|>")]
WHOLE_TASK = b"files: {train: a.csv}\ncolumns: {sentence1: text, label: label}\n"


@settings(QUICK, max_examples=200)
@given(st.sampled_from([b"", WHOLE_TASK]), st.lists(st.sampled_from(TASK_PIECES), max_size=15))
@example(WHOLE_TASK, [b"labels:", b"[no, yes]"])
def test_any_bytes_of_a_tasks_file_are_a_task_or_lines_that_name_it(
    folder, monkeypatch, head, tail
):
    monkeypatch.chdir(folder)
    Path("params/tasks/fuzzed.yaml").write_bytes(head + b"".join(tail))
    try:
        task = read_task("fuzzed", TaskFile)
    except InputError as error:
        lines_of(error)
        assert all(line.startswith("params/tasks/fuzzed.yaml:") for line in error.problems)
    else:
        assert task.columns.sentence1
    finally:
        Path("params/tasks/fuzzed.yaml").unlink()


@pytest.mark.parametrize("breaks", ["\n", "\r", "\x85", "\u2028", "\x1b[2J", "\0", "\ud800"])
def test_a_problem_is_one_line_whatever_its_value_holds(breaks):
    (line,) = InputError(f"f.csv: got {breaks}; mend it").problems
    assert line.isprintable()
    assert line.startswith("f.csv: got \\")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return copy_params(tmp_path_factory.mktemp("project"))


@FEW
@given(st.sampled_from(["profile", "tasks", "systems", "seed", "loss", "sources"]), VALUES)
def test_any_value_of_params_yaml_is_checked_to_the_end(folder, monkeypatch, key, value):
    monkeypatch.chdir(folder)
    values = read_yaml(ROOT / "params.yaml") | {key: value}
    try:
        text = yaml.safe_dump(values, allow_unicode=True)
        Path("params.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        check_params()
    except InputError as error:
        lines_of(error)
    finally:
        shutil.copy(ROOT / "params.yaml", folder)


@FEW
@given(
    st.sampled_from(["seed", "loss", "+x", "~seed", "tasks", "params/tasks/mrpc.yaml:labels", ""]),
    TEXTS,
)
@example("params/tasks/mrpc.yaml:labels", "[no, yes]")
@example("seed", "\n")
def test_any_override_is_set_or_refused_and_every_file_is_as_before(folder, key, value):
    before = {file: file.read_bytes() for file in folder.rglob("*.yaml")}
    with refused_in_lines(), params_changed(folder, [f"{key}={value}"]):
        parse_yaml((folder / "params.yaml").read_bytes(), "params.yaml")
    assert {file: file.read_bytes() for file in folder.rglob("*.yaml")} == before


@QUICK
@given(st.lists(st.one_of(WORDS, st.lists(WORDS, max_size=3).map(bracketed)), max_size=4))
def test_a_sweeps_values_are_split_at_the_commas_between_them(values):
    assert split_values(",".join(values)) == values
    assert split_values(" , ".join(values) + ",") == values
