"""Write a student as ONNX, in float32 and in int8, if both answer as it does.

python -m stages.export SYSTEM TASK
"""

from pathlib import Path

from stages import run
from tinybert.deployment.sections import ExportSettings
from tinybert.runtime.outputs import replace_file, replace_folder, write_json
from tinybert.settings.reader import read_param, read_section, read_system, read_task
from tinybert.tasks.task import read_named_info
from tinybert.tasks.task_file import TaskFile


def main(system: str, task: str) -> str:
    """Make models/onnx/<system>/<task>, and say what int8 cost."""
    settings, seed = read_section("export", ExportSettings), read_param("seed", int)
    output = Path("models/onnx") / system / task
    found: dict[str, object] = {"system": system, "task": task}
    said = f"made nothing in {output}, since params/systems/{system}.yaml says export: false"
    if read_system(system, "export", bool):
        from tinybert.deployment.exporting import export_student  # late: seconds

        student, task_folder = Path("models/prediction") / system / task, Path("data/tasks") / task
        encoding = read_task(task, TaskFile).encoding(read_named_info(task_folder, task))
        made = export_student(student, task_folder, output, encoding, settings, seed)
        found |= made
        int8, size = made["chosen"], made["float32"]["size_mb"]
        lost, low, high = (100 * int8[key] for key in ("drop", "drop_low", "drop_high"))
        said = (
            f"made {output}: ONNX {size:.1f} MB; int8 ({int8['name']}) {int8['size_mb']:.1f} MB, "
            f"{lost:.1f} points of {made['metric']} lost ({low:.1f} to {high:.1f})"
        )
    else:
        with replace_folder(output):
            pass
    with replace_file(Path(f"reports/export/{system}-{task}.json")) as partial:
        write_json(found, partial)
    return said


if __name__ == "__main__":
    run(main)
