"""A DVC pipeline of six quick stages, in a git repository of its own."""

import subprocess
import sys
from pathlib import Path

import yaml

STAGE = '''"""python -m stages.work NAME INPUT..."""
import ctypes, os, pathlib, sys, time
import yaml

if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # as the real stages: end when dvc does

name, *inputs = sys.argv[1:]
params = yaml.safe_load(open("params.yaml"))
print(f"{name} starts", flush=True)
pathlib.Path("ran").mkdir(exist_ok=True)
with open("ran/" + name, "a") as log:
    log.write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')} {time.time()}\\n")
if params["fail"] == name:
    sys.exit("work: params.yaml: fail: names me; write another")
if params["killed"] == name and not os.path.exists("ran/killed"):
    open("ran/killed", "w").close()
    os.kill(os.getpid(), 9)
time.sleep(params["seconds"])
weight = str(params["loss"]["attn_weight"]) if name in params["systems"] else ""
text = name + weight + "".join(open(i).read() for i in inputs)
pathlib.Path("out").mkdir(exist_ok=True)
open(f"out/{name}", "w").write(text)
print(f"work: made {name}", flush=True)
'''
CHECK = """import sys, yaml
for folder in sys.argv[1:] or ["."]:
    yaml.safe_load(open(folder + "/params.yaml"))["loss"]["attn_weight"] + 0.0
"""
PARAMS = {
    "profile": "tiny",
    "tasks": ["one", "two"],
    "systems": ["small"],
    "loss": {"attn_weight": 1.0},
    "fail": "nothing",
    "killed": "nothing",
    "seconds": 0,
}


def _stage(command: str, deps: list[str], out: str, params: list[str]) -> dict:
    return {
        "cmd": f"python -m stages.work {command}",
        "deps": [f"out/{dep}" for dep in deps],
        "params": params,
        "outs": [f"out/{out}"],
    }


PIPELINE = {
    "stages": {
        "prepare_corpus": _stage("corpus", [], "corpus", ["fail", "killed"]),
        "general_distill": {
            "foreach": "${systems}",
            "do": _stage("${item} out/corpus", ["corpus"], "${item}", ["loss.attn_weight"]),
        },
        "augment": {
            "foreach": "${tasks}",
            "do": _stage("${item} out/corpus", ["corpus"], "${item}", ["fail"]),
        },
        "benchmark_latency": _stage("speed out/small", ["small"], "speed", ["fail"]),
        "report": _stage(
            "report out/one out/two out/speed", ["one", "two", "speed"], "report", ["fail"]
        ),
    }
}
STAGES = {
    "prepare_corpus",
    "general_distill@small",
    "augment@one",
    "augment@two",
    "benchmark_latency",
    "report",
}


def make_pipeline(folder: Path) -> Path:
    """Fill a folder with the pipeline, committed to git; return it."""
    (folder / "stages").mkdir(parents=True)
    (folder / "stages/__init__.py").touch()
    (folder / "stages/work.py").write_text(STAGE)
    (folder / "stages/_check_params.py").write_text(CHECK)
    (folder / "params.yaml").write_text("# A comment stays.\n" + yaml.safe_dump(PARAMS))
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    for kind, names in (("profiles", ["tiny"]), ("tasks", ["one", "two"]), ("systems", ["small"])):
        (folder / "params" / kind).mkdir(parents=True)
        for name in names:
            (folder / "params" / kind / f"{name}.yaml").write_text("size: 1\n")
    (folder / ".gitignore").write_text("/out\n/ran\n__pycache__/\n")
    commit_as_repository(folder)
    return folder


def commit_as_repository(folder: Path) -> None:
    """Make a folder a repository of git and DVC, with all that is in it committed."""
    for command in (
        ["git", "init", "-q"],
        ["git", "config", "user.email", "test@example.org"],
        ["git", "config", "user.name", "test"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        [sys.executable, "-m", "dvc", "config", "core.autostage", "false"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def set_params(folder: Path, **changes: object) -> None:
    """Change top-level keys of the pipeline's params.yaml."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump({**values, **changes}))


def times_run(folder: Path) -> dict[str, int]:
    """Return how often each stage was executed."""
    return {
        file.name: len(file.read_text().splitlines())
        for file in sorted((folder / "ran").glob("*"))
        if file.name != "killed"
    }
