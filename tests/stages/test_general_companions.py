"""`general_distill` trains systems that are still to be made along, and changes none of them."""

import shutil
from contextlib import chdir
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout

from stages import general_distill
from tests.fixtures.workspace import SHAPE, edit_section, edit_yaml, make_workspace, run_stage
from tinybert.distillation.distillation import Distillation, phase_weights
from tinybert.encoders.checkpoints import load_encoder
from tinybert.settings.choices import Loss

OTHER = SHAPE | {"num_hidden_layers": 2, "hidden_size": 8}
SYSTEMS = ["tinybert_mini", "scratch_mini", "other"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("companions"))
    other = folder / "params/systems/other.yaml"
    shutil.copy(folder / "params/systems/tinybert_mini.yaml", other)
    edit_yaml(other, shape=OTHER)
    edit_yaml(folder / "params.yaml", systems=SYSTEMS)
    with chdir(folder):
        run_stage("prepare_corpus")
        run_stage("fetch_teacher")
    return folder


@pytest.fixture
def workspace(prepared, tmp_path, monkeypatch) -> Path:
    """A fresh folder with links to what is prepared."""
    for name in ("data", "params", "params.yaml"):
        (tmp_path / name).symlink_to(prepared / name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/pretrained").symlink_to(prepared / "models/pretrained")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def distil(system: str) -> dict[str, bytes]:
    """Run the stage; return what it made."""
    run_stage("general_distill", system)
    places = [*Path(f"models/general/{system}").iterdir()]
    places.append(Path(f"reports/training/general_distill/{system}.csv"))
    return {place.name: place.read_bytes() for place in places}


def test_a_system_made_beside_another_is_the_one_made_alone(workspace, monkeypatch, capsys):
    monkeypatch.setenv("TINYBERT_TOGETHER", "0")
    alone = {system: distil(system) for system in ("tinybert_mini", "other")}
    assert "along" not in capsys.readouterr().out
    monkeypatch.delenv("TINYBERT_TOGETHER")
    for place in (workspace / "models/general", workspace / "checkpoints"):
        place.rename(workspace / f"{place.name}_alone")
    together = {"tinybert_mini": distil("tinybert_mini")}
    assert "general_distill tinybert_mini: trains other along" in capsys.readouterr().out
    assert not (workspace / "models/general/other").exists()  # that is its own stage's to make
    together["other"] = distil("other")
    assert "along" not in capsys.readouterr().out
    assert together == alone


def test_what_was_trained_along_is_not_trained_again(workspace, monkeypatch):
    distil("tinybert_mini")
    monkeypatch.setattr(
        "tinybert.training.phase_trainer.PhaseTrainer.run_to_the_end",
        lambda self: pytest.fail("trained"),
    )
    assert "model.safetensors" in distil("other")


@pytest.mark.parametrize(
    ("made", "along"),
    [(None, False), ("by other settings", True)],  # no marker: taken for up to date
)
def test_a_student_that_is_there_is_trained_along_only_if_known_to_be_old(
    workspace, capsys, made, along
):
    Path("models/general/other").mkdir(parents=True)
    if made is not None:
        marker = Path("checkpoints/general_distill/other.made")
        marker.parent.mkdir(parents=True)
        marker.write_text(made)
    distil("tinybert_mini")
    assert ("trains other along" in capsys.readouterr().out) == along


def test_one_that_was_made_is_not_trained_along_the_next_time(workspace, capsys):
    distil("other")
    capsys.readouterr()
    distil("tinybert_mini")
    assert "along" not in capsys.readouterr().out


def test_one_of_another_length_is_trained_alone(workspace, prepared, capsys):
    (workspace / "params").unlink()
    shutil.copytree(prepared / "params", workspace / "params")
    file = workspace / "params/systems/other.yaml"
    edit_section(file, "general_distill", steps_scale=2)
    distil("tinybert_mini")
    assert "along" not in capsys.readouterr().out
    distil("other")
    history = pd.read_csv("reports/training/general_distill/other.csv")
    assert history["step"].iloc[-1] == 8  # 2 times the profile's 4


def test_the_teacher_is_loaded_once(workspace, monkeypatch):
    loaded = []

    def loading(folder):
        loaded.append(folder)
        return load_encoder(folder)

    monkeypatch.setattr(general_distill, "load_encoder", loading)
    distil("tinybert_mini")
    assert loaded == [Path("models/pretrained")]


def test_a_companion_that_diverges_leaves_the_system_as_it_is_alone(workspace, monkeypatch, capsys):
    monkeypatch.setenv("TINYBERT_TOGETHER", "0")
    alone = distil("tinybert_mini")
    monkeypatch.delenv("TINYBERT_TOGETHER")
    real = Distillation.terms

    def exploding(self, batch, signals):
        found = real(self, batch, signals)
        return found | {"loss": found["loss"] * torch.nan} if len(self.layers) == 2 else found

    monkeypatch.setattr(Distillation, "terms", exploding)
    assert distil("tinybert_mini") == alone
    assert "goes on alone: general_distill tinybert_mini + " in capsys.readouterr().out


def test_a_systems_own_weights_count_times_those_of_params():
    loss = Loss(attn_weight=2.0, hidden_weight=3.0)
    weights = phase_weights(["attention", "hidden", "embedding"], loss, {"attention": 0.25})
    assert weights == {"attention": 0.5, "hidden": 3.0}


@pytest.mark.parametrize(("system", "waits"), [("scratch_mini", False), ("tinybert_mini", True)])
def test_only_what_could_be_trained_along_waits_for_another_stage(
    workspace, system, waits, monkeypatch
):
    monkeypatch.setattr(general_distill, "FileLock", partial(FileLock, timeout=0.1))
    Path("checkpoints/general_distill").mkdir(parents=True)
    with FileLock("checkpoints/general_distill/lock"):
        if waits:
            with pytest.raises(Timeout):
                general_distill.main(system)
        else:
            assert "without general distillation" in general_distill.main(system)
