"""What is freed is kept: the next step takes it without asking the system for pages."""

import subprocess
import sys

import pytest

from tinybert.runtime import memory

PROGRAM = """
import resource, sys
from tinybert.runtime.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(64 * 2**20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Return how many pages the system gave for a second block of 64 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_block_as_large_as_one_that_was_freed_takes_no_new_page() -> None:
    assert faults("given back") > 1000  # 16,384 pages of 4 KiB; fewer where pages are huge
    assert faults("kept") < 100


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIBC", None)  # as on macOS and Windows
    assert not memory.keep_freed_memory()
