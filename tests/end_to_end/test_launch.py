"""Two processes that train together give what one gives, on the CPU with gloo."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from safetensors.numpy import load_file

from tests.fixtures.killing import (
    PIPELINE,
    SYSTEM,
    Stage,
    copy_of,
    make_longer_workspace,
    outputs,
    run_stage,
)
from tests.fixtures.workspace import ROOT, SHAPE, edit_section, edit_yaml

pytestmark = pytest.mark.slow

STAGES = {stage.name: stage for stage in PIPELINE}


def launch(folder: Path, stage: Stage, num_processes: int = 2) -> subprocess.Popen:
    """Start a stage in several processes."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--num_processes", str(num_processes), "--main_process_port", "0"]
    command += ["-m", f"stages.{stage.name}", *stage.arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def launched(folder: Path, stage: Stage) -> str:
    """Run a stage in two processes to its end; return what it printed."""
    process = launch(folder, stage)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory) -> dict[str, Path]:
    """For each stage, a workspace as it is before the stage; made by one process each."""
    folder = make_longer_workspace(tmp_path_factory.mktemp("launch") / "workspace")
    edit_yaml(folder / f"params/systems/{SYSTEM}.yaml", shape=SHAPE | {"dropout": 0.0})
    # 307 blocks: 17 batches of 18 and one of a single block, which the second process is without.
    edit_section(folder / "params/profiles/tiny.yaml", "general_distill", batch_size=18)
    places = {}
    for stage in PIPELINE:
        places[stage.name] = copy_of(folder, f"before-{stage.name}")
        assert run_stage(folder, stage) == 0
    return places | {"after": folder}


@pytest.mark.parametrize("phase", ["general", "intermediate", "prediction"])
def test_two_processes_give_the_losses_and_weights_of_one(workspaces, phase):
    name = f"{phase}_distill"
    folder, stage = copy_of(workspaces[name], f"two-{name}"), STAGES[name]
    model, history = Path("models", phase, *stage.arguments), f"{name}/{'-'.join(stage.arguments)}"
    printed = launched(folder, stage)
    assert printed.count(f"{name}: made") == 1  # the first process alone prints
    one, two = (
        pd.read_csv(place / f"reports/training/{history}.csv")
        for place in (workspaces["after"], folder)
    )
    np.testing.assert_allclose(two, one, rtol=1e-5)
    expected = load_file(workspaces["after"] / model / "model.safetensors")
    found = load_file(folder / model / "model.safetensors")
    assert found.keys() == expected.keys()
    for weight in expected:
        np.testing.assert_allclose(found[weight], expected[weight], atol=1e-4, err_msg=weight)
    assert outputs(folder).keys() <= outputs(workspaces["after"]).keys()


@pytest.mark.parametrize("name", ["fetch_teacher", "finetune_teacher"])
def test_teachers_are_trained_by_two_processes(workspaces, name):
    folder = copy_of(workspaces[name], f"two-{name}")
    launched(folder, STAGES[name])
    found = outputs(folder).keys()
    assert found - outputs(workspaces[name]).keys()
    assert found <= outputs(workspaces["after"]).keys()


def test_two_processes_killed_and_run_again_end_the_same(workspaces):
    stage = STAGES["general_distill"]
    whole = copy_of(workspaces[stage.name], "two-whole")
    launched(whole, stage)
    folder = copy_of(workspaces[stage.name], "two-killed")
    process = launch(folder, stage)
    while not list((folder / "checkpoints").glob("*/*/checkpoint-2*")):  # in the second epoch
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    assert not (folder / "models/general").exists()
    launched(folder, stage)
    assert outputs(folder) == outputs(whole)


def test_a_loss_that_is_no_number_ends_every_process_with_one_line(workspaces):
    folder = copy_of(workspaces["general_distill"], "two-nan")
    edit_section(folder / "params/profiles/tiny.yaml", "general_distill", learning_rate=1.0e30)
    process = launch(folder, STAGES["general_distill"])
    workers = []
    while process.poll() is None:
        workers = psutil.Process(process.pid).children(recursive=True) or workers
        time.sleep(0.1)
    printed, _ = process.communicate()
    assert process.returncode != 0
    assert printed.count("general_distill: general_distill") == 1, printed
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_a_batch_that_cannot_be_shared_out_is_refused_in_one_line(workspaces):
    folder = copy_of(workspaces["general_distill"], "four")
    process = launch(folder, STAGES["general_distill"], num_processes=4)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert printed.count("got 18 rows and 4 processes") == 1
    shutil.rmtree(folder)
