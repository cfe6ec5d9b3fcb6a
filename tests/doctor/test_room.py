"""Disk and memory: what is needed by arithmetic, what is there as the system says."""

import shutil
import subprocess
import sys

import pytest
import torch

from tests.fixtures.workspace import ROOT
from tinybert.doctor.room import (
    available_memory,
    checkpoint_bytes,
    judge_disk,
    judge_memory,
    peak,
)

CPU = torch.device("cpu")


def test_checkpoints_take_weights_and_moments_of_each_state_and_the_outputs():
    # 10 weights of 4 bytes: two states of weights and two moments (2 * 120), one point's weights
    # and two outputs (3 * 40). Choosing by epoch keeps a third state; each point 40 more.
    assert checkpoint_bytes(10) == 240 + 120
    assert checkpoint_bytes(10, num_points=3, selects=True) == 360 + 200


def test_a_disk_too_small_is_wrong_and_names_the_cure(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert judge_disk(1000, tmp_path / "not" / "yet").level == "right"
    found = judge_disk(free * 2, tmp_path)
    assert found.level == "wrong"
    assert "make clean" in found.line


def test_memory_is_compared_and_an_unknown_one_is_a_doubt():
    assert judge_memory(2_000_000_000, 21_000_000_000, "") == ("right", "2.0 of 21.0 GB memory")
    found = judge_memory(3_000_000_000, 2_000_000_000, "lower batch_size")
    assert found.level == "wrong"
    assert "got 2.0 GB and 3.0 GB needed; lower batch_size" in found.line
    assert judge_memory(None, 1, "").level == judge_memory(1, None, "").level == "doubt"


@pytest.fixture
def system(tmp_path):
    """A process of 100 kB on a machine with 900 kB left."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("Name:\tx\nVmHWM:\t 150 kB\nVmRSS:\t 100 kB\n")
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable:  900 kB\n")
    return tmp_path


def test_what_the_process_has_counts_as_available(system):
    assert available_memory(CPU, system, system / "none") == 1000 * 1024
    assert peak(system) == 150 * 1024
    assert available_memory(CPU, system / "none", system / "none") is None


@pytest.mark.parametrize("inside", [True, False])
def test_the_limit_of_a_group_counts_but_for_files_in_its_cache(system, inside):
    # In a container the group is the root; outside, it is named by the process, and a limit may be
    # its parent's. 500 kB limit, 300 used, 50 of them cached files: 250 left, and 100 we have.
    group = system / "cgroup"
    (group / "user/job").mkdir(parents=True)
    (system / "self/cgroup").write_text("0::/\n" if inside else "0::/user/job\n")
    limited = group if inside else group / "user"
    (limited / "memory.max").write_text(f"{500 * 1024}\n")
    (limited / "memory.current").write_text(f"{300 * 1024}\n")
    (limited / "memory.stat").write_text(f"anon 1\ninactive_file {50 * 1024}\n")
    (group / "user/job/memory.max").write_text("max\n")
    assert available_memory(CPU, system, group) == 350 * 1024


def test_the_peak_is_that_since_it_was_reset():
    if peak() is None:
        pytest.skip("this system does not say")
    code = """
from tinybert.doctor.room import peak, reset_peak
block = b"x" * 200_000_000
del block
before = peak()
reset_peak()
print(before - peak())
"""
    # A process of its own: what other tests have left in this one's memory is not known.
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert int(found.stdout) > 150_000_000
