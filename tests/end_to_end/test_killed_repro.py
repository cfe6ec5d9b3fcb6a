"""`dvc repro` killed in mid-training: nothing is left over, and the next one goes on."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.fixtures.clones import environment_of, make_clone, ran, run
from tests.fixtures.workspace import edit_section, edit_yaml, read_yaml

pytestmark = pytest.mark.slow

STAGE = "general_distill@tinybert_mini"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone with one task and system, whose general distillation takes seconds."""
    folder = make_clone(tmp_path_factory.mktemp("killed"))
    edit_yaml(folder / "params.yaml", tasks=["reviews"], systems=["tinybert_mini"])
    longer = {"num_epochs": 100.0, "max_steps": 300, "save_steps": 25}
    edit_section(folder / "params/profiles/tiny.yaml", "general_distill", **longer)
    return folder


def kill_in_mid_training(folder: Path) -> list[psutil.Process]:
    """Start `dvc repro`, kill it with -9 after a checkpoint; return its children."""
    environment = environment_of(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="2")
    process = subprocess.Popen(
        ["dvc", "repro", STAGE], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    )
    while not list((folder / "checkpoints/general_distill").glob("*/checkpoint-*")):
        assert process.poll() is None
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return children


def test_a_killed_repro_leaves_no_process_no_half_output_and_no_lock(clone):
    children = kill_in_mid_training(clone)
    assert children
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert not (clone / "models/general").exists()
    for name in ("data", "models", "reports"):
        assert not list((clone / name).rglob("*.partial"))
    assert list((clone / "checkpoints/general_distill").glob("*/checkpoint-*"))
    assert STAGE in ran(run(clone, "dvc", "repro", STAGE))  # no unlocking by hand
    killed = (clone / "models/general/tinybert_mini/model.safetensors").read_bytes()
    run(clone, "dvc", "repro", "--force", "--single-item", STAGE)  # never killed
    assert (clone / "models/general/tinybert_mini/model.safetensors").read_bytes() == killed


def test_the_run_cache_restores_a_stage_that_was_killed_once(clone):
    params = read_yaml(clone / "params.yaml")
    edit_yaml(clone / "params.yaml", loss={**params["loss"], "attn_weight": 0.5})
    assert ran(run(clone, "dvc", "repro", STAGE)) == {STAGE}
    edit_yaml(clone / "params.yaml", **params)
    output = run(clone, "dvc", "repro", STAGE)
    assert ran(output) == set()
    assert "is cached" in output
