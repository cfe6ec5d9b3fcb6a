"""Whether disk and memory suffice: what is needed is arithmetic, what is there is asked for."""

import os
import shutil
from pathlib import Path

import torch

from tinybert.doctor.findings import Finding, doubt, right, wrong
from tinybert.runtime.processes import num_processors

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
# Version 2's names, then version 1's.
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
BYTES_PER_WEIGHT = 4


def checkpoint_bytes(num_parameters: int, num_points: int = 1, selects: bool = False) -> int:
    """Return the most that checkpoints and outputs of a training take on disk.

    Args:
        num_parameters: Of all that is trained.
        num_points: Of the grid; each leaves its weights until the last one is done.
        selects: Whether the best epoch is kept beside the last.
    """
    weights = num_parameters * BYTES_PER_WEIGHT
    states = 3 if selects else 2  # the one being written, the last whole one, the best one
    outputs = 2  # beside the old output, or in DVC's cache
    return states * 3 * weights + (num_points + outputs) * weights  # weights and two moments


def judge_disk(needed: int, place: Path, what: str = "checkpoints") -> Finding:
    """Compare what a training writes with what is free where it writes."""
    existing = next(path for path in [place, *place.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free
    shown = f"{gigabytes(needed)} of {gigabytes(free)} GB disk"
    if needed <= free:
        return right(shown)
    return wrong(
        f"{place}: the disk is too small for {what}, got {gigabytes(free)} GB free and "
        f"{gigabytes(needed)} GB needed; free some (`make clean`, `dvc gc --workspace`)"
    )


def judge_memory(needed: int | None, available: int | None, cure: str) -> Finding:
    """Compare the memory that a training takes with what there is.

    Args:
        needed: Bytes; None where it could not be measured.
        available: Bytes, what this process has already included; None where the system does
            not say.
        cure: What would make it less.
    """
    if needed is None or available is None:
        known = "" if needed is None else f" of {gigabytes(needed)} GB"
        return doubt(f"memory{known}: this system does not say how much there is")
    shown = f"{gigabytes(needed)} of {gigabytes(available)} GB memory"
    if needed <= available:
        return right(shown)
    return wrong(
        f"memory: too little for a training step, got {gigabytes(available)} GB and "
        f"{gigabytes(needed)} GB needed; {cure}"
    )


def available_memory(device: torch.device, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Return the bytes this process can have in all, those it has already included."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    own, free = resident(proc), _field(proc / "meminfo", "MemAvailable")
    if own is None or free is None:
        return None
    return own + min([free, *_cgroup_room(proc, cgroup)])


def _cgroup_room(proc: Path, cgroup: Path) -> list[int]:
    """Return what is left below each limit on this process's groups, from the inner one out."""
    found: list[int] = []
    for part in _group_folders(proc, cgroup):
        for limit_name, usage_name in LIMITS:
            limit, usage = _number(part / limit_name), _number(part / usage_name)
            if limit is not None and usage is not None:
                cached = _field(part / "memory.stat", "inactive_file", factor=1) or 0
                found.append(max(0, limit - usage + cached))  # cached files give way
    return found


def _group_folders(proc: Path, cgroup: Path) -> list[Path]:
    """Return the folders of this process's groups; in a container the group is the root."""
    file = proc / "self/cgroup"
    folders = {cgroup, cgroup / "memory"}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):
            own = cgroup / kinds / path.lstrip("/")
            folders |= {part for part in [own, *own.parents] if part.is_relative_to(cgroup)}
    return sorted(folders)


def resident(proc: Path = PROC) -> int | None:
    """Return the bytes of memory that this process has now."""
    return _field(proc / "self/status", "VmRSS")


def peak(proc: Path = PROC) -> int | None:
    """Return the most this process had since `reset_peak`, or ever."""
    return _field(proc / "self/status", "VmHWM")


def reset_peak() -> None:
    """Forget the most this process had, where the system lets it."""
    try:
        (PROC / "self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return


def gigabytes(count: int) -> str:
    """Return bytes as 10^9 bytes, with two digits that say something."""
    return f"{count / 1e9:.1f}" if count >= 1e9 else f"{count / 1e9:.2g}"


def judge_load(more: str = "") -> list[Finding]:
    """Doubt a time measured while others want the processors, in the mean of the last minute."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = f"{load:.1f} processes share {num_processors()} processors{more}"
    return [doubt(busy)] if load > 1.5 * num_processors() else []


def _field(file: Path, name: str, factor: int = 1024) -> int | None:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, rest = line.replace(":", " ").partition(" ")
        if key == name:
            return int(rest.split()[0]) * factor
    return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max": no limit
        return None
