"""Score a student on its task, and write its predictions.

python -m stages.evaluate SYSTEM TASK
"""

from pathlib import Path

from stages import run
from tinybert.encoders.checkpoints import load_classifier, load_tokenizer
from tinybert.encoders.positions import require_positions
from tinybert.evaluation.scores import evaluate_task, shown_scores
from tinybert.runtime.outputs import replace_file, replace_folder, write_json
from tinybert.settings.reader import read_task
from tinybert.tasks.task import DEV, read_named_info
from tinybert.tasks.task_file import TaskFile


def main(system: str, task: str) -> str:
    """Score one system on one task."""
    student, task_folder = Path("models/prediction") / system / task, Path("data/tasks") / task
    task_file = read_task(task, TaskFile)
    model, tokenizer, info = (
        load_classifier(student),
        load_tokenizer(student),
        read_named_info(task_folder, task),
    )
    length_of = f"params/tasks/{task}.yaml: max_length"
    require_positions(task_file.max_length, model.config, length_of, "student")
    encoding = task_file.encoding(info)
    with replace_folder(Path("reports/predictions") / system / task) as partial:
        result = evaluate_task(model, tokenizer, system, task_folder, info, encoding, partial)
    file = Path(f"reports/metrics/{system}/{task}.json")
    with replace_file(file) as partial_file:
        write_json(result, partial_file)
    return f"made {file} (dev: {shown_scores(result, DEV)})"


if __name__ == "__main__":
    run(main)
