"""Names of the code are found by the documentation's own marks, which are taken out."""

from itertools import combinations

import pandas as pd
import pytest

from tinybert.tasks.embedded import names
from tinybert.tasks.embedded.names import (
    MARKS,
    mark_names,
    named_documents,
    parameter_names,
    spans_of,
    without_marks,
)
from tinybert.tasks.embedded.tasks import make_task
from tinybert.text.embedded import docstrings
from tinybert.text.embedded.docstrings import documents

DOCSTRING = """Return the mean.

Parameters
----------
a : array_like
    Input for `a_min`.
x1, x2 : int
**kwargs
    Others.

Returns
-------
mean : float
"""


@pytest.fixture(scope="module")
def small():
    """Read four small packages in place of all of them."""
    packages = ("click", "flask", "joblib", "werkzeug")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docstrings, "LIBRARIES", packages)
        patch.setattr(names, "NAMING", packages)
        documents.cache_clear()
        named_documents.cache_clear()
        yield make_task("names", 60, 15, 15, seed=1)
    documents.cache_clear()
    named_documents.cache_clear()


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        (DOCSTRING, {"a", "x1", "x2", "kwargs"}),
        (":param path: where.\n:param int size: how much.\n:type path: str", {"path", "size"}),
        (
            "Do it.\n\nArgs:\n    rate (float): how fast.\n    size: rows.\nReturns:\n    all: x",
            {"rate", "size"},
        ),
        ("No list: of any.", set()),
    ],
)
def test_parameters_are_those_of_the_docstrings_lists(docstring, found):
    assert parameter_names(docstring) == found


@pytest.mark.parametrize(
    ("text", "type_", "name"),
    [
        ("If `axis` is", "PARAMETER", "axis"),
        ("If ``axis`` is", "PARAMETER", "axis"),
        ("If :paramref:`.f.axis` is", "PARAMETER", "axis"),
        ("is ``None`` so", "VALUE", "None"),
        ("is ``'same'`` so", "VALUE", "same"),
        ("by :func:`~numpy.linalg.solve` so", "FUNCTION", "solve"),
        ("by :meth:`fit()` so", "FUNCTION", "fit"),
        ("by ``fit()`` so", "FUNCTION", "fit"),
        ("a :class:`.Session` is", "CLASS", "Session"),
        ("a `LinearOperator` is", "CLASS", "LinearOperator"),
    ],
)
def test_a_mark_says_the_type_of_a_name(text, type_, name):
    marked = mark_names(text, {"axis"})
    assert name + MARKS[type_] in marked
    first, *_, last = text.split()
    assert without_marks(marked) == f"{first} {name} {last}"


@pytest.mark.parametrize("text", ["`x + 1`", "``other``", ":attr:`x`", "``a.b``", ":func:`a b`"])
def test_what_is_no_name_of_a_type_keeps_its_sentence_out(text):
    assert mark_names(f"see {text} it", {"axis"}) == "see ~ it"


def test_places_are_those_without_marks():
    marked = mark_names("If `axis` is ``None``.", {"axis"})
    # "If axis is None.": axis is 3 to 7, None 11 to 15.
    assert spans_of(marked) == [
        {"start": 3, "end": 7, "label": "PARAMETER"},
        {"start": 11, "end": 15, "label": "VALUE"},
    ]


def test_a_sentence_with_an_unmarked_name_is_left_out():
    def kept(sentence: str) -> list[str]:
        return list(names._marked_sentences(sentence + "\n\n" + DOCSTRING))

    assert kept("The value of `a` is not changed here.")
    for name in ("a_min", "None", "'same'", "x", "fooBar"):
        assert not kept(f"The value of `a` is not {name} at all here.")


def test_rows_hold_names_at_their_places_and_no_marks(small):
    assert {split: len(frame) for split, frame in small.items()} == {
        "train": 60, "dev": 15, "test": 15}  # fmt: skip
    for frame in small.values():
        for text, spans in zip(frame["sentence1"], frame["label"], strict=True):
            assert text.isascii() and "`" not in text
            for span in spans:
                assert (
                    text[span["start"] : span["end"]].strip() == text[span["start"] : span["end"]]
                )
                assert span["label"] in MARKS
    train = small["train"]
    types = {span["label"] for spans in train["label"] for span in spans}
    assert types == set(MARKS)
    assert any(not spans for spans in train["label"])


def test_splits_share_no_sentence_and_the_seed_decides(small):
    for one, two in combinations(small.values(), 2):
        assert not set(one["sentence1"]) & set(two["sentence1"])
    again, other = (make_task("names", 40, 15, 15, seed) for seed in (1, 2))
    pd.testing.assert_frame_equal(again["train"], small["train"][:40])
    pd.testing.assert_frame_equal(again["dev"], small["dev"])
    assert not other["dev"].equals(small["dev"])
