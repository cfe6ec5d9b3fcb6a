"""Several students of one teacher, trained side by side on one pass of the teacher each step.

Nothing else is shared: each has its own random numbers, gradient norm and part of the optimizer's
state, so each ends with the weights it would have if it were trained alone.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from tinybert.distillation.distillation import Distillation
from tinybert.runtime.seeds import seed_step

BETWEEN = " | "  # a student's name and a term's name in the log


class Together(nn.Module):
    """Students that match layers of the same teacher.

    Args:
        students: By name; all with the same `Teacher` object.
    """

    def __init__(self, students: Mapping[str, Distillation]) -> None:
        super().__init__()
        self.names = list(students)
        self.students = nn.ModuleList(students.values())

    def compile_layers(self) -> None:
        """Let torch.compile make kernels for the layers of the students and the teacher."""
        for student in cast(list[Distillation], list(self.students)):
            student.compile_layers()

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the sum of the students' losses as `loss`, and each one's terms by its name."""
        students = cast(list[Distillation], list(self.students))
        read = [student.read_of_teacher() for student in students]
        teacher = students[0].teacher
        assert teacher is not None
        signals = teacher.signals(
            batch,
            attention=set().union(*(each["attention"] for each in read)),
            hidden=any(each["hidden"] for each in read),
            relations=set().union(*(each["relations"] for each in read)),
        )
        seed = torch.initial_seed()
        terms: dict[str, Tensor] = {}
        for name, student in zip(self.names, students, strict=True):
            seed_step(seed)
            found = student.terms(batch, signals)
            terms |= {f"{name}{BETWEEN}{term}": value for term, value in found.items()}
        total = torch.stack([terms[f"{name}{BETWEEN}loss"] for name in self.names]).sum()
        return {"loss": total} | terms


def log_of(student: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the log as it would be if the student had been trained alone."""
    prefix = student + BETWEEN
    own = {key.removeprefix(prefix): row[key] for key in row if key.startswith(prefix)}
    return {key: row[key] for key in row if BETWEEN not in key} | own
