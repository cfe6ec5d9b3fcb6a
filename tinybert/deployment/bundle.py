"""A folder that serves a student: models, tokenizer, labels, card, service, and a Dockerfile."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_folder, write_json
from tinybert.tasks.task import Encoding, TaskInfo

HERE = Path(__file__).parent
PACKAGES = ("fastapi", "numpy", "onnxruntime", "tokenizers", "uvicorn")
CARD = "README.md"
DOCKERFILE = """\
FROM python:3.11-slim
WORKDIR /bundle
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
EXPOSE 8000
# Inside the container every address; publish it on one of the host's: -p 127.0.0.1:8000:8000
CMD ["python", "service.py", "--host", "0.0.0.0"]
"""


def make_bundle(
    exported: Path, card: Path, info: TaskInfo, name: str, encoding: Encoding, folder: Path
) -> None:
    """Write a folder that `python service.py` answers from.

    Args:
        exported: What the stage `export` made.
        card: The student's model card.
        info: The task.
        name: Of the model, for answers and logs.
        encoding: How rows became the tokens that the model was trained on.
        folder: To write.
    """
    with replace_folder(folder) as partial:
        shutil.copytree(exported, partial, dirs_exist_ok=True)
        shutil.copy(card, partial / CARD)
        shutil.copy(HERE / "service.py", partial)
        about = {"name": name, "pair": info.pair, **encoding._asdict()}
        write_json(about, partial / "bundle.json")
        pinned = "".join(f"{package}=={version(package)}\n" for package in PACKAGES)
        (partial / "requirements.txt").write_text(pinned, encoding="utf-8")
        (partial / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")


def require_made(made_by: Mapping[Path, str]) -> None:
    """Check that files are there.

    Args:
        made_by: The command that makes each.

    Raises:
        InputError: One line for each that is missing.
    """
    problems = [
        f"{path}: is missing, got no student to hand on; run `{command}`"
        for path, command in made_by.items()
        if not path.exists()
    ]
    if problems:
        raise InputError(*problems)
