"""`precision: auto` takes bfloat16 where it pays, not where the processor merely knows it."""

import pytest
import torch

from tinybert.runtime import precision
from tinybert.runtime.precision import WORTH_IT, autocast_dtype


@pytest.fixture
def processor(monkeypatch):
    """Return a function that sets what the processor has, and float32's time over bfloat16's."""

    def set_to(*, has_bf16, times_as_fast):
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: has_bf16, raising=False)
        seconds = {torch.float32: times_as_fast, torch.bfloat16: 1.0}
        monkeypatch.setattr(precision, "_seconds", lambda dtypes: [*map(seconds.get, dtypes)])
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        precision._bf16_pays.cache_clear()

    yield set_to
    precision._bf16_pays.cache_clear()


@pytest.mark.parametrize(
    ("has_bf16", "times_as_fast", "expected"),
    [
        (True, 2.0, torch.bfloat16),
        (True, WORTH_IT, torch.bfloat16),
        (True, 1.1, None),
        (True, 0.5, None),
        (False, 2.0, None),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it_and_is_faster_with_it(
    processor, has_bf16, times_as_fast, expected
):
    processor(has_bf16=has_bf16, times_as_fast=times_as_fast)
    assert autocast_dtype("auto") is expected


@pytest.mark.parametrize(("asked", "dtype"), [("bf16", torch.bfloat16), ("fp32", None)])
def test_what_is_asked_for_is_taken_whatever_it_costs(processor, asked, dtype):
    processor(has_bf16=asked == "fp32", times_as_fast=2.0 if asked == "fp32" else 0.5)
    assert autocast_dtype(asked) is dtype


def test_measuring_draws_no_random_number():
    before = torch.get_rng_state()
    assert all(0 < each < 10 for each in precision._seconds([torch.float32, torch.bfloat16]))
    assert torch.equal(before, torch.get_rng_state())
