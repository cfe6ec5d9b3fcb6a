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


@pytest.fixture(scope="session")
def export_once(tmp_path_factory):
    """`export_onnx` for tests of what reads the file: a model exported before is copied.

    Tracing a model takes seconds, and workers share what they have traced.
    """
    base: Path = tmp_path_factory.getbasetemp()
    kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    kept.mkdir(exist_ok=True)

    def export(model, file: Path) -> None:
        from tests.fixtures.models import fingerprint
        from tinybert.deployment.onnx_file import export_onnx

        known = kept / fingerprint(model)
        if not known.exists():
            export_onnx(model, file)
            part = known.with_suffix(f".{os.getpid()}")
            shutil.copy(file, part)
            part.replace(known)
        shutil.copy(known, file)

    return export


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
