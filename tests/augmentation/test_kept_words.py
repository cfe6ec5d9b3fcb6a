import pytest

from tinybert.augmentation.kept_words import is_replaceable


@pytest.mark.parametrize(
    "word",
    "the The NOT never no nor nobody cannot don't isn’t n't N'T won s 3 1998 3rd b2b two Million"  # noqa: RUF001
    " didn without ½ 三".split(),
)
def test_function_words_negations_and_numbers_stay(word):
    assert not is_replaceable(word)


@pytest.mark.parametrize(
    "word", "cat Cat system fire bill serious o'clock café собака कुत्ता".split()
)
def test_content_words_may_be_replaced(word):
    assert is_replaceable(word)
