"""A DVC pipeline with the project's phases, each a line of text, for ablations."""

from pathlib import Path

import yaml

from tests.flows.small_pipeline import commit_as_repository

WORK = '''"""python -m stages.work STAGE OUTPUT INPUT..."""
import json, os, pathlib, sys
import yaml

stage, output, *inputs = sys.argv[1:]
params = yaml.safe_load(open("params.yaml"))
system = yaml.safe_load(open("params/systems/small.yaml"))
profile = yaml.safe_load(open("params/profiles/tiny.yaml"))
with open(os.environ["DVC_ROOT"] + "/ran", "a") as log:
    log.write(stage + "\\n")
if stage == params["fail"] and not system["general_distill"]["terms"]:
    sys.exit("work: without general distillation I fail; write another")
used = {
    "augment": profile["augment"],
    "general": [params["loss"]["attn_weight"], system["general_distill"], system["layer_map"]],
    "student": [params["loss"]["attn_weight"], system["prediction_distill"], system["layer_map"]],
}
text = stage + json.dumps(used.get(stage)) + "".join(pathlib.Path(i).read_text() for i in inputs)
if stage == "evaluate":
    score = round(0.9 - len(text) / 1000, 4)
    text = json.dumps({"main_metric": "accuracy", "metrics": {"dev": {"accuracy": score}}})
path = pathlib.Path(output)
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(text)
'''
PARAMS = {
    "profile": "tiny",
    "tasks": ["one"],
    "systems": ["other", "small"],
    "loss": {"attn_weight": 1.0},
    "fail": "nothing",
}
SYSTEM = {
    "general_distill": {"terms": ["attention"]},
    "layer_map": "uniform",
    "prediction_distill": {"terms": ["prediction"]},
}
FILE = "params/systems/{system}.yaml:"
GROUPS = {
    "phases": {
        "without_general": [f"{FILE}general_distill.terms=[]"],
        "without_task": [
            f"{FILE}prediction_distill.terms=[label]",
            f"{FILE}++prediction_distill.data=original",
        ],
        "without_augmentation": ["params/profiles/{profile}.yaml:augment.num_copies=0"],
    },
    "layer_maps": {"layer_map_top": [f"{FILE}layer_map=top"]},
}


def _stage(stage: str, output: str, inputs: list[str], params: list[object]) -> dict[str, object]:
    return {
        "cmd": f"python -m stages.work {stage} {output} {' '.join(inputs)}",
        "deps": inputs,
        "params": params,
    }


def _cached(*arguments) -> dict[str, object]:
    return {**_stage(*arguments), "outs": [arguments[1]]}


def _of_system(*keys: str) -> dict[str, list[str]]:
    return {"params/systems/${item.system}.yaml": list(keys)}


MATRIX = {"system": "${systems}", "task": "${tasks}"}
STUDENT = "out/student/${item.system}-${item.task}"
PIPELINE = {
    "stages": {
        "corpus": _cached("corpus", "out/corpus", ["data/raw/corpus/text.txt"], ["profile"]),
        "augment": {
            "foreach": "${tasks}",
            "do": _cached(
                *("augment", "out/augmented/${item}", ["out/corpus"]),
                [{"params/profiles/${profile}.yaml": ["augment"]}],
            ),
        },
        "general": {
            "foreach": "${systems}",
            "do": _cached(
                *("general", "out/general/${item}", ["out/corpus"]),
                [
                    *("loss.attn_weight", "fail"),
                    {"params/systems/${item}.yaml": ["general_distill", "layer_map"]},
                ],
            ),
        },
        "student": {
            "matrix": MATRIX,
            **_cached(
                *("student", STUDENT),
                ["out/augmented/${item.task}", "out/general/${item.system}"],
                ["loss.attn_weight", _of_system("prediction_distill", "layer_map")],
            ),
        },
        "evaluate": {
            "matrix": MATRIX,
            **_stage(
                *("evaluate", "reports/metrics/${item.system}/${item.task}.json", [STUDENT]),
                ["profile"],
            ),
            "metrics": [
                {"reports/metrics/${item.system}/${item.task}.json": {"cache": False}},
            ],
        },
    }
}


def make_study(folder: Path) -> Path:
    """Fill a folder with the pipeline and two groups of ablations, committed to git."""
    for name in ("stages", "params/ablations", "data/raw/corpus"):
        (folder / name).mkdir(parents=True)
    (folder / "stages/__init__.py").touch()
    (folder / "stages/work.py").write_text(WORK)
    (folder / "stages/_check_params.py").write_text("")
    (folder / "data/raw/corpus/.gitkeep").touch()
    (folder / "data/raw/corpus/text.txt").write_text("text")
    files: dict[str, object] = {"params.yaml": PARAMS, "dvc.yaml": PIPELINE}
    files["params/profiles/tiny.yaml"] = {"augment": {"num_copies": 2}}
    files |= {f"params/systems/{name}.yaml": SYSTEM for name in ("small", "other")}
    files |= {f"params/tasks/{name}.yaml": {"size": 1} for name in ("one", "two")}
    for group, ablations in GROUPS.items():
        experiments = {
            name: {"description": name, "overrides": overrides}
            for name, overrides in ablations.items()
        }
        file = f"params/ablations/{group}.yaml"
        files[file] = {"description": group, "experiments": experiments}
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(values, sort_keys=False))
    ignored = ["/out", "/ran", "__pycache__/", "/reports/ablation", "/data/raw/*/*", "!.gitkeep"]
    (folder / ".gitignore").write_text("\n".join([*ignored, "/mlflow.db*", "/mlartifacts", ""]))
    commit_as_repository(folder)
    return folder


def times_run(folder: Path) -> dict[str, int]:
    """Return how often each stage was executed."""
    stages = (folder / "ran").read_text().split() if (folder / "ran").exists() else []
    return {stage: stages.count(stage) for stage in sorted(set(stages))}
