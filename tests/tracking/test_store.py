"""What people do to a tracking store by clicking, moving and deleting: healed, or one line."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import mlflow
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from tests.fixtures.tracked import client_of, runs, track_project, write_project
from tinybert.runtime.errors import InputError
from tinybert.tracking.compare import compare
from tinybert.tracking.experiment import EXPERIMENT, experiment_id
from tinybert.tracking.failures import printable_address, server_line
from tinybert.tracking.store import store_uri

NOBODY = 65534


@pytest.fixture
def own(store, tmp_path) -> str:
    """The URI of a store that no other test sees."""
    folder = tmp_path / "store"
    folder.mkdir()
    empty = Path(store.removeprefix("sqlite:///")).with_name("empty.db")
    shutil.copy(empty, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        places = "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)"
        for text in (str, quote):  # as it is written in an address too
            database.execute(places, (text(str(empty.parent)), text(str(folder))))
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def project(tmp_path) -> Path:
    return write_project(tmp_path / "project")


@pytest.fixture
def client(own) -> mlflow.MlflowClient:
    return client_of(own)


def log(project: Path, uri: str, seed: str = "0") -> str:
    return track_project(project, uri, {"seed": seed})


def refusal(project: Path, uri: str) -> str:
    with pytest.raises(InputError) as caught:
        log(project, uri)
    (line,) = caught.value.problems
    assert "\n" not in line and ", got " in line and "; " in line
    return line


def file_of(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///"))


def place_of(client: mlflow.MlflowClient, run_id: str) -> Path:
    return Path(unquote(urlsplit(client.get_run(run_id).info.artifact_uri).path))


def test_a_deleted_experiment_is_restored_with_its_runs_and_said(project, own, client, capfd):
    first = log(project, own)
    client.delete_experiment(experiment_id(client))
    capfd.readouterr()
    assert log(project, own) == first
    assert "MLflow: the deleted experiment 'tinybert' is restored" in capfd.readouterr().err
    assert [run.info.run_id for run in runs(client)] == [first]
    client.delete_experiment(experiment_id(client))
    assert len(compare(own, "seed")[0]) == 1


def test_a_renamed_experiment_is_found_and_one_made_anew_beside_it_has_the_name(
    project, own, client
):
    first = log(project, own)
    known = experiment_id(client)
    client.rename_experiment(known, "mine")
    assert experiment_id(client) == known and log(project, own) == first
    client.delete_experiment(known)
    assert experiment_id(client) == known
    named = client.create_experiment(EXPERIMENT)
    assert experiment_id(client) == named


def test_an_experiment_that_is_gone_for_good_is_made_anew_beside_the_store(project, own, client):
    log(project, own)
    client.delete_experiment(experiment_id(client))
    client._tracking_client.store._hard_delete_experiment(  # what `mlflow gc` calls
        client.get_experiment_by_name(EXPERIMENT).experiment_id
    )
    log(project, own)
    found = client.get_experiment_by_name(EXPERIMENT)
    assert found.artifact_location == (file_of(own).parent / "mlartifacts").as_uri()


def test_a_deleted_run_is_restored_with_the_trainings_below_it(project, own, client, capfd):
    first = log(project, own)
    (child,) = runs(client, first)
    for run_id in (first, child.info.run_id):
        client.delete_run(run_id)
    capfd.readouterr()
    assert log(project, own) == first
    assert capfd.readouterr().err.count("is restored") == 2
    assert [run.info.run_id for run in runs(client, first)] == [child.info.run_id]
    found = client.search_runs([experiment_id(client)], run_view_type=ViewType.ALL)
    assert len(found) == 2


def test_a_training_whose_pipeline_run_is_gone_is_put_below_the_next_one(project, own, client):
    first = log(project, own)
    (child,) = runs(client, first)
    client.delete_run(first)
    second = log(project, own, seed="1")
    assert [run.info.run_id for run in runs(client, second)] == [child.info.run_id]
    client._tracking_client.store._hard_delete_run(first)
    log(project, own, seed="1")
    assert [run.info.run_id for run in runs(client, second)] == [child.info.run_id]
    assert log(project, own) not in (first, second)


def test_files_deleted_by_hand_are_logged_again(project, own, client):
    first = log(project, own)
    place = place_of(client, first)
    shutil.rmtree(place)
    assert log(project, own) == first and (place / "tables/results.md").is_file()


@pytest.fixture
def made(tmp_path, project) -> str:
    """The URI of a store in a folder of its own, with the files of one run."""
    uri = f"sqlite:///{tmp_path / 'old place' / 'mlflow.db'}"
    log(project, uri)
    return uri


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_store_finds_and_writes_its_files_beside_it(
    how, made, project, tmp_path, capfd
):
    old, new = tmp_path / "old place", tmp_path / "new"
    before = file_of(made).read_bytes()
    how(old, new)
    uri = f"sqlite:///{new / 'mlflow.db'}"
    capfd.readouterr()
    first, second = log(project, uri), log(project, uri, seed="1")
    said = capfd.readouterr().err
    assert said.count("was moved or copied; its files are now those in") == 1 and str(new) in said
    client = client_of(uri)
    for run_id in (first, second):
        assert place_of(client, run_id).is_relative_to(new / "mlartifacts")
        assert [each.path for each in client.list_artifacts(run_id, "tables")]
    # Not that of the first run: within one process MLflow remembers its folder.
    assert not (old / "mlartifacts" / second).exists()
    if how is shutil.copytree:  # the first one is left alone
        assert file_of(made).read_bytes() == before


def test_a_store_copied_without_its_files_says_where_they_are_and_how_to_have_its_own(
    made, project, tmp_path, capfd
):
    old, new = tmp_path / "old place", tmp_path / "new"
    new.mkdir()
    shutil.copy(old / "mlflow.db", new)
    uri = f"sqlite:///{new / 'mlflow.db'}"
    run_id = log(project, uri)
    said = capfd.readouterr().err
    command = f"cp -r {old / 'mlartifacts'} {new / 'mlartifacts'}"
    assert f"its files are not beside it, got {old / 'mlartifacts'}; `{command}`" in said
    shutil.copytree(old / "mlartifacts", new / "mlartifacts")
    client = client_of(uri)
    assert log(project, uri) == run_id
    assert place_of(client, run_id).is_relative_to(new / "mlartifacts")


def test_a_store_reached_by_another_path_is_the_same_store(made, project, tmp_path, capfd):
    (tmp_path / "link").symlink_to(tmp_path / "old place")
    capfd.readouterr()
    log(project, f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}")
    assert "MLflow:" not in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "missing"])
def test_an_empty_store_is_made(tmp_path, project, content):
    file = tmp_path / "mlflow.db"
    if content is not None:
        file.write_bytes(content)
    log(project, f"sqlite:///{file}")
    place = client_of(f"sqlite:///{file}").get_experiment_by_name(EXPERIMENT).artifact_location
    assert place == (tmp_path / "mlartifacts").as_uri()


def test_a_damaged_store_is_refused_with_the_command_that_moves_it_away(tmp_path, project, own):
    file = tmp_path / "mlflow.db"
    file.write_text("no database at all, but some text of more than a hundred bytes " * 9)
    assert f"`mv {file} {file}.broken`" in refusal(project, f"sqlite:///{file}")
    whole = file_of(own).read_bytes()
    cut = tmp_path / "cut.db"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refusal(project, f"sqlite:///{cut}")


def test_another_programs_database_is_refused(tmp_path, project):
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE alembic_version (version_num TEXT)")
        other.execute("INSERT INTO alembic_version VALUES ('another')")
    line = refusal(project, f"sqlite:///{file}")
    assert "got schema another" in line and "mv " in line


def test_a_store_of_another_mlflow_is_refused_with_what_mends_it(project, own):
    file = file_of(own)
    for revision, cure in (
        ("451aebb31d03", "mlflow db upgrade sqlite:///"),
        ("ffffffffffff", "mv"),
    ):
        with sqlite3.connect(file) as changed:
            changed.execute("UPDATE alembic_version SET version_num = ?", [revision])
        line = refusal(project, own)
        assert f"got schema {revision}" in line and cure in line and str(file) in line


def test_a_locked_store_is_refused_with_how_to_find_who_holds_it(project, own):
    with sqlite3.connect(file_of(own), isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert "is locked by another process" in refusal(project, own)
        holder.execute("ROLLBACK")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's rights, which no file's mode limits."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_store_that_may_not_be_written_is_refused(tmp_path, own, project, what):
    log(project, own)  # imports what an unprivileged process may not be allowed to read
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    for path in project.rglob("*"):
        path.chmod(0o777)
    file = file_of(own)
    file.parent.chmod(0o777 if what == "file" else 0o555)
    file.chmod(0o444)
    with unprivileged():
        line = refusal(project, own)
    assert "writable" in line and str(file) in line


@pytest.mark.parametrize(
    "uri",
    [
        "file:/tmp/mlruns",
        "./mlruns",
        "mlruns",
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:mlflow.db",
        "sqlite://mlflow.db",
        "sqlite:////tmp",
        "postgresql:host/name",
        "databricks:profile",
        "http:127.0.0.1:5000",
        "http://",
        "http://:5000",
        "http://127.0.0.1:port",
        "http://127.0.0.1:123456",
        "127.0.0.1:5000",
        "localhost:5000",
        "htp://127.0.0.1:5000",
        "uc:x",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be(project, uri):
    line = refusal(project, uri)
    assert line.startswith("MLFLOW_TRACKING_URI: ") and repr(uri) in line
    assert "http://host:5000, sqlite:////folder/mlflow.db" in line


def test_spaces_around_an_address_are_none_and_a_relative_file_is_the_main_checkouts(tmp_path):
    assert store_uri({"MLFLOW_TRACKING_URI": " http://h:5\n"}) == "http://h:5"
    named = {"DVC_ROOT": str(tmp_path), "MLFLOW_TRACKING_URI": "sqlite:///runs/x.db"}
    assert store_uri(named) == f"sqlite:///{tmp_path}/runs/x.db"
    assert store_uri({"MLFLOW_TRACKING_URI": " "}) == store_uri({})


@contextmanager
def a_server_answering(status: int, content: bytes) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "cure"),
    [
        (200, b"<html>\n<body>hello</body></html>", "is that an MLflow server"),
        (200, b"{}", "is that an MLflow server"),
        (401, b"<html>\nwho are you</html>", "MLFLOW_TRACKING_USERNAME"),
        (403, b"Invalid Host header", "ask for write access"),
        (404, b"<html>\nnothing</html>", "is that an MLflow server"),
        (500, b"<html>\noops</html>", "see the server's log"),
    ],
)
def test_a_server_that_is_not_mlflows_is_named_in_one_line(project, status, content, cure):
    with a_server_answering(status, content) as uri:
        line = refusal(project, uri)
    assert cure in line and uri in line


def test_a_port_that_holds_a_status_is_none():
    uri = "http://127.0.0.1:40395"
    said = MlflowException(f"API request to {uri}/api failed: too many 500 error responses")
    assert "see the server's log" in server_line(uri, said)


@pytest.mark.parametrize(
    ("uri", "printed"),
    [
        ("postgresql://me:se@cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg2://me:s/e:c@host/db", "postgresql+psycopg2://me:***@host/db"),
        ("https://me:secret@host/path", "https://me:***@host/path"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
    ],
)
def test_a_password_in_an_address_is_not_printed(uri, printed):
    assert printable_address(uri) == printed


def test_a_refusal_shows_no_password(project):
    line = refusal(project, "postgresq://me:secret@host/db")
    assert "secret" not in line
    assert "me:***@host" in line
