"""How long a schedule trains."""

from tinybert.settings.schedule import Schedule

SCHEDULE = Schedule(
    num_epochs=3.0,
    max_steps=None,
    batch_size=10,
    learning_rate=1e-3,
    warmup_ratio=0.1,
    weight_decay=0.0,
)


def test_a_row_is_seen_once_an_epoch_or_as_often_as_there_are_steps_for():
    assert SCHEDULE.num_passes(100) == 3.0
    few = SCHEDULE.model_copy(update={"max_steps": 5})
    assert few.num_passes(100) == 0.5  # 5 steps of 10 rows
    assert few.num_passes(10) == 3.0
    assert few.num_passes(0) == 3.0
