"""A small pipeline in a git repository, made once; each test that asks has a copy."""

import shutil

import pytest

from tests.fixtures.small_pipeline import make_pipeline


@pytest.fixture(scope="session")
def small_pipeline(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("template") / "repo")


@pytest.fixture
def root(tmp_path, small_pipeline):
    return shutil.copytree(small_pipeline, tmp_path / "repo", symlinks=True)
