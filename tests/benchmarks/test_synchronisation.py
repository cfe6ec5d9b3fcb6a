"""Two processes that share a step tell what sending gradients and waiting cost."""

import os
import re
import subprocess
import sys

import pytest

from tests.fixtures.workspace import ROOT

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
LAUNCH += ["--main_process_port", "0", "-m", "benchmarks.synchronisation"]


@pytest.mark.slow
def test_two_processes_say_once_what_sending_and_waiting_cost():
    command = [*LAUNCH, "--shapes", "minilm", "--precision", "fp32", "--steps", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("processes")]
    pattern = r"processes 2, tokens/s \S+, gradients' share of a step (\S+), waiting's .* (\S+)"
    shares = re.fullmatch(pattern, line)
    assert shares, line
    assert 0 <= float(shares[2]) < 1
