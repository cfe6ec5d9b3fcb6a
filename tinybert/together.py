"""Several students of one teacher, trained side by side on one pass of the teacher each step.

Nothing else is shared: each has its own random numbers, gradient norm and part of the optimizer's
state, so each ends with the weights it would have if it were trained alone.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tinybert.distillation import Distillation

BETWEEN = " | "  # a student's name and a term's name in the log


class Together(nn.Module):
    """Students that match layers of the same teacher.

    Args:
        students: By name, without dots; all with the same `Teacher` object.
    """

    def __init__(self, students: Mapping[str, Distillation]) -> None:
        super().__init__()
        self.students = nn.ModuleDict(students)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the sum of the students' losses as `loss`, and each one's terms by its name."""
        students: Mapping[str, Any] = dict(self.students.items())
        teacher = next(iter(students.values())).teacher
        read = [student.read_of_teacher() for student in students.values()]
        signals = teacher.signals(
            batch,
            attention=set().union(*(each["attention"] for each in read)),
            hidden=any(each["hidden"] for each in read),
        )
        seed = torch.initial_seed()
        terms: dict[str, Tensor] = {}
        for name, student in students.items():
            torch.manual_seed(seed)
            found = student.terms(batch, signals)
            terms |= {f"{name}{BETWEEN}{term}": value for term, value in found.items()}
        total = torch.stack([terms[f"{name}{BETWEEN}loss"] for name in students]).sum()
        return {"loss": total} | terms


def history_of(student: str, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the log as it would be if the student had been trained alone."""
    prefix = student + BETWEEN
    rows = []
    for row in log:
        own = {key.removeprefix(prefix): row[key] for key in row if key.startswith(prefix)}
        rows.append({key: row[key] for key in row if BETWEEN not in key} | own)
    return rows
