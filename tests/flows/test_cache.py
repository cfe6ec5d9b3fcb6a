"""A corrupted file in DVC's cache is found, named and removed, and nothing else is."""

import subprocess

import pytest

from flows.cache import corrupted_objects, forget_objects
from tests.fixtures.small_pipeline import cached, make_pipeline, spoil


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    root = make_pipeline(tmp_path_factory.mktemp("cache") / "repo")
    subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True)
    return root


def test_only_the_corrupted_object_is_found_and_removed(reproduced):
    assert corrupted_objects(reproduced) == []
    file = cached(reproduced, "onecorpus")
    others = [other for other in file.parents[1].rglob("*") if other.is_file() and other != file]
    spoil(file)
    (found,) = corrupted_objects(reproduced)
    assert (found.stage, found.out, found.file) == ("augment@one", "out/one", file)
    assert str(found) == f"augment@one: the cached copy of out/one is corrupted, got {file}"
    assert corrupted_objects(reproduced, ["augment@two", "report"]) == []
    forget_objects(reproduced, [found])
    assert not file.exists()
    assert not (reproduced / "out/one").exists()
    assert all(other.exists() for other in others)
    assert (reproduced / "out/two").exists()


def test_without_a_lock_there_is_nothing_to_find(root):
    assert corrupted_objects(root) == []
