"""Any bytes in the place of mlflow.db give a run, or one line that says what to do."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fixtures.tracked import track_project, write_project
from tinybert.runtime.errors import InputError
from tinybert.tracking import failures

SLOW = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PAGE = 4096  # bytes, sqlite's


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


def logged_or_refused(project: Path, content: bytes, folder: Path) -> None:
    file = folder / "mlflow.db"
    file.write_bytes(content)
    try:
        assert track_project(project, f"sqlite:///{file}")
    except InputError as error:
        (line,) = error.problems
        assert str(file) in line and ", got " in line and "; " in line and "\n" not in line


@SLOW
@given(st.binary(max_size=64), st.booleans())
@example(b"<html>", False)
def test_any_file_is_a_store_or_refused_in_one_line(project, tmp_path_factory, content, begins):
    head = b"SQLite format 3\0" if begins else b""
    logged_or_refused(project, head + content, tmp_path_factory.mktemp("store"))


@SLOW
@given(st.data())
def test_a_damaged_store_is_used_or_refused_in_one_line(project, tmp_path_factory, store, data):
    whole = Path(store.removeprefix("sqlite:///")).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.sampled_from([1, 16, PAGE, len(whole) - at]))
    if data.draw(st.booleans()):  # cut short, or overwritten
        content = whole[:at]
    else:
        content = whole[:at] + b"\xaa" * length + whole[at + length :]
    logged_or_refused(project, content, tmp_path_factory.mktemp("store"))


def test_a_store_whose_text_is_no_utf8_is_damaged_and_a_mistake_of_ours_is_not(tmp_path):
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE a_marker (x)")
    file.write_bytes(file.read_bytes().replace(b"CREATE TABLE", b"CREATE \xaaABLE"))
    engine, said = sqlalchemy.create_engine(f"sqlite:///{file}"), "got text that is no UTF-8; "
    with pytest.raises(InputError, match=said), failures.store_errors(f"sqlite:///{file}"):
        sqlalchemy.inspect(engine).get_table_names()
    with pytest.raises(UnicodeDecodeError), failures.store_errors(f"sqlite:///{file}"):
        b"\xaa".decode()
