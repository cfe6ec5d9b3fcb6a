"""Tests need no network: the hub is off before any library looks for it."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, as in the stages
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

# The same examples on every machine, and no limit on time: CI's cores are shared.
settings.register_profile("stable", derandomize=True, deadline=None, database=None)
settings.load_profile("stable")


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> str:
    """The URI of one local MLflow store: creating it takes seconds, so tests share it."""
    from tinybert.tracking.store import create_store

    folder: Path = tmp_path_factory.mktemp("a store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    create_store(uri)
    shutil.copy(folder / "mlflow.db", folder / "empty.db")  # for tests that need one of their own
    return uri


@pytest.fixture
def tokenizer(tmp_path):
    """The tokenizer of tests/fixtures/small_masked_lm.py."""
    from tests.fixtures.small_masked_lm import small_tokenizer

    return small_tokenizer(tmp_path)


@pytest.fixture
def model():
    """The masked language model of tests/fixtures/small_masked_lm.py."""
    from tests.fixtures.small_masked_lm import small_model

    return small_model()
