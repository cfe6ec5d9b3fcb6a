"""Files of params/systems/: what they say, and what is refused."""

import pytest

from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT
from tinybert.settings.reader import parse, read_yaml
from tinybert.settings.systems import GeneralPhase, Grid, LayerPhase, OutputPhase, SystemFile

FILES = sorted((ROOT / "params/systems").glob("*.yaml"))
PUBLISHED = read_yaml(ROOT / "tinybert/reports/published.yaml")["glue_test"]["rows"]
PROFILE = Grid(
    num_epochs=3.0,
    max_steps=None,
    batch_sizes=[16, 32],
    learning_rates=[1e-5, 2e-5],
    warmup_ratio=0.1,
    weight_decay=0.01,
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_is_right(file):
    parse(SystemFile, read_yaml(file), str(file))


def test_every_row_of_the_published_table_has_a_system_and_one_for_the_small_teacher():
    stand_for = {
        file.stem: parse(SystemFile, read_yaml(file), str(file)).published or file.stem
        for file in FILES
    }
    assert set(PUBLISHED) <= {file.stem for file in FILES}
    scaled = {row for name, row in stand_for.items() if name != row}
    assert scaled | {"tinybert4"} == set(PUBLISHED)


def test_no_code_asks_for_a_systems_name():
    names = {file.stem for file in FILES}
    for folder in ("tinybert", "stages", "flows"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            found = [n for n in names if f'== "{n}"' in text or f'startswith("{n}' in text]
            assert not found, file


def phase(**values) -> OutputPhase:
    return parse(OutputPhase, values, "prediction_distill")


def test_the_grid_of_pkd_is_every_combination_of_its_three_lists():
    given = phase(
        terms=["label", "kl", "patient"],
        soft_shares=[0.2, 0.5, 0.7],
        temperatures=[5, 10, 20],
        patient_weights=[10, 100, 500, 1000],
    )
    choices = given.choices()
    assert len(choices) == 36 == len({choice.name for choice in choices})
    first = choices[0]
    # (1 - a) CE + a KL + b PT with a = 0.2, t = 5, b = 10.
    assert first.factors == {"label": 0.8, "kl": 0.2, "patient": 10}
    assert first.temperature == 5
    assert first.name == "share_0.2_temperature_5_patient_10"


def test_one_value_needs_no_name_and_no_list_no_choice():
    only = phase(terms=["label", "kl"], soft_shares=[0.5], temperatures=[10.0]).choices()
    assert [choice.name for choice in only] == [""]
    assert phase(terms=["label"], weights={"label": 3.0}).choices()[0].factors == {"label": 3.0}


def test_a_systems_own_grid_replaces_the_profiles():
    own = phase(terms=["label"], learning_rates=[3e-4, 1e-4], batch_sizes=[8]).grid(PROFILE)
    assert (own.learning_rates, own.batch_sizes, own.num_epochs) == ([3e-4, 1e-4], [8], 3.0)
    own = phase(terms=["label"], learning_rates=[1e-3], num_epochs=9.0).grid(PROFILE)
    assert (own.num_epochs, own.batch_sizes, own.learning_rates) == (9.0, [16, 32], [1e-3])
    assert len(PROFILE.schedules()) == 4
    assert len(own.schedules()) == 2


def test_a_layer_phase_takes_the_profiles_learning_rate_unless_it_has_its_own():
    profile = PROFILE.schedules()[0].model_copy(update={"num_epochs": 4.0, "max_steps": 7})
    usual, own = (LayerPhase(terms=[], learning_rate=rate) for rate in (None, 2e-3))
    assert usual.schedule(profile, 0.5) == profile.model_copy(update={"num_epochs": 2.0})
    faster = own.schedule(profile, 1.0)
    assert faster == profile.model_copy(update={"learning_rate": 2e-3})


def test_a_general_phase_is_as_many_times_as_long_as_the_profiles():
    profile = PROFILE.schedules()[0].model_copy(update={"max_steps": 7})
    assert GeneralPhase(terms=["mlm"]).schedule(profile) == profile
    longer = GeneralPhase(terms=["mlm"], steps_scale=2.5).schedule(profile)
    # 3 epochs, 7 steps at most: 7.5 and 17.5, to the next even number.
    assert longer == profile.model_copy(update={"num_epochs": 7.5, "max_steps": 18})
    unlimited = profile.model_copy(update={"max_steps": None})
    shorter = GeneralPhase(terms=["mlm"], steps_scale=0.01)
    assert shorter.schedule(unlimited).max_steps is None
    assert shorter.schedule(profile).max_steps == 1
    slower = GeneralPhase(terms=["mlm"], learning_rate=2e-4)
    assert slower.schedule(profile) == profile.model_copy(update={"learning_rate": 2e-4})


def test_a_scale_of_no_steps_is_refused_in_one_line():
    values = {"terms": ["mlm"], "steps_scale": 0}
    assert refused(parse, GeneralPhase, values, "pd.yaml: general_distill").startswith(
        "pd.yaml: general_distill.steps_scale: wrong value, got 0; Input should be greater than 0"
    )


def test_the_papers_systems_are_as_long_as_its_profile_says():
    names = read_yaml(ROOT / "params/groups/paper.yaml")["systems"]
    phases = [read_yaml(ROOT / f"params/systems/{name}.yaml")["general_distill"] for name in names]
    assert not [phase for phase in phases if "steps_scale" in phase]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"terms": ["label"], "classifier": "teacher"}, "trained already, got terms label"),
        ({"terms": ["kl"], "soft_shares": [0.5]}, "soft_shares weigh kl against label, got terms"),
        ({"terms": ["label"], "patient_weights": [1]}, "patient_weights need the term, got"),
        ({"terms": ["label", "kl"], "soft_shares": [1.5]}, "less than or equal to 1"),
        ({"terms": ["kl"], "temperatures": []}, "at least 1 item"),
        ({"terms": ["cosine"]}, "terms"),
        ({"terms": ["label"], "then": {"terms": ["labels"]}}, "then"),
    ],
)
def test_a_phase_that_does_not_fit_is_refused_in_one_line(values, message):
    assert message in refused(phase, **values)


@pytest.mark.parametrize(
    ("key", "at", "values"),
    [
        ("batch_sizes", "", []),
        ("batch_sizes", ".1", [16, 0]),
        ("learning_rates", "", []),
        ("learning_rates", ".0", [0.0]),
        ("learning_rates", ".0", [-1e-5, 1e-5]),
    ],
)
def test_a_grid_has_points_and_none_of_a_batch_or_rate_of_nothing(key, at, values):
    for kind, given in ((Grid, PROFILE.model_dump()), (OutputPhase, {"terms": ["prediction"]})):
        line = refused(parse, kind, {**given, key: values}, "prediction_distill")
        assert line.startswith(f"prediction_distill: {key}{at}: ")


def test_words_are_hidden_by_the_terms_of_pre_training_alone():
    hides = {
        term: parse(GeneralPhase, {"terms": [term]}, "general_distill").hides_words
        for term in ("attention", "hidden", "cosine", "attention_probs", "mlm", "next_sentence")
    }
    assert [term for term, does in hides.items() if does] == ["mlm", "next_sentence"]
