"""What a stage imports before it begins: libraries that take seconds only where it needs them."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stages
from stages import NAMES

WITHOUT_TORCH = {"prepare_corpus", "word_vectors", "prepare_task", "model_card", "report", "track"}
NEVER = ("gensim", "matplotlib", "mlflow", "sklearn")
SECONDS_EACH = ("torch", "transformers", "scipy", "datasets", "huggingface_hub", *NEVER)
LOADED = """
import importlib, json, sys
for name in sys.argv[2:]:
    importlib.import_module(f"stages.{name}")
print(json.dumps([name for name in sys.argv[1].split() if name in sys.modules]))
"""


def loaded(libraries: tuple[str, ...], *stages: str) -> list[str]:
    command = (sys.executable, "-c", LOADED, " ".join(libraries), *stages)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.mark.parametrize("stage", sorted(WITHOUT_TORCH))
def test_a_stage_that_computes_nothing_loads_no_library_that_takes_seconds(stage):
    assert loaded(SECONDS_EACH, stage) == []


def test_settings_are_checked_without_a_library_that_takes_seconds():
    assert loaded(SECONDS_EACH, "_check_params") == []


def test_stages_that_compute_load_nothing_for_tables_plots_and_tracking():
    assert loaded(NEVER, *sorted(set(NAMES) - WITHOUT_TORCH)) == []


def test_libraries_are_quiet_without_being_loaded():
    import_and_print = (
        "import stages; from transformers.utils import logging as log; "
        "print(log.get_verbosity(), log.is_progress_bar_enabled())"
    )
    done = subprocess.run(
        (sys.executable, "-c", import_and_print), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(logging.ERROR), "False"]


def test_importing_the_stages_leaves_garbage_collection_on():
    program = "import gc, stages; print(gc.isenabled())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout == "True\n"


def test_a_stage_is_imported_without_garbage_collection_and_runs_with_it(tmp_path):
    """Off when the stage's own file is reached, on in its main."""
    package = Path(stages.__file__).parent
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text((package / "__init__.py").read_text())
    (tmp_path / "stages" / "example.py").write_text(
        "import gc\nimport stages\nprint(gc.isenabled())\n"
        "stages._check_params_once = lambda: None\n"
        "stages.run(lambda: f'made {gc.isenabled()}')\n"
    )
    found = subprocess.run(
        [sys.executable, "-m", "stages.example"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.startswith("False\nexample: made True"), found.stderr


@pytest.mark.parametrize(
    ("stage", "policy"), [("prediction_distill", "PASSIVE"), ("benchmark_latency", None)]
)
def test_threads_wait_as_elsewhere_where_latency_is_measured(stage, policy):
    code = "import os, stages; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run(
        (sys.executable, "-c", code, f"stages.{stage}"),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert done.stdout.strip() == str(policy)
