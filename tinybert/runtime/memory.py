"""The memory that a training frees and asks for again in its next step."""

from tinybert.runtime.processes import LIBC

# Numbers of mallopt(3), in glibc.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD = 64 * 2**20  # bytes by which the heap grows


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed instead of giving it back to the system.

    A step frees as much as the next one asks for, in blocks that glibc maps anew each time, so the
    system clears every page of them in every step.

    Returns:
        Whether the library could be asked: glibc alone can.
    """
    if LIBC is None or not hasattr(LIBC, "gnu_get_libc_version"):
        return False
    asked = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: TOP_PAD}
    return all(LIBC.mallopt(name, value) == 1 for name, value in asked.items())
