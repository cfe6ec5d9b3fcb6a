import os
import random
import subprocess
import sys
from itertools import combinations, pairwise

import pandas as pd
import pytest

from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.tasks.embedded import passages, splits
from tinybert.tasks.embedded.corruption import corrupt
from tinybert.tasks.embedded.grading import _replace_words, derive, grade
from tinybert.tasks.embedded.tasks import make_task
from tinybert.text.embedded import docstrings
from tinybert.text.embedded.copies import CopyFilter, NearCopies, normalised_words
from tinybert.text.embedded.docstrings import Document, documents
from tinybert.text.embedded.prose import is_prose, plain_text, sentence_runs, split_sentences

SMALL = ("click", "flask", "joblib", "websockets")
NUMPY_STYLE = """Return the mean of the given values.

The mean is :func:`~numpy.sum` over the number of values [1]_. It is computed
in double precision.

.. math:: m = s / n

Parameters
----------
axis : int, optional
    Axis along which the means are computed. See https://example.org for more.

See Also
--------
median : The value in the middle of the sorted list.
The entries of this section are dropped in full.

Examples
--------
The first call shows the usual case.

>>> mean([1, 2])
This output is not a sentence of prose.

References
----------
.. [1] A. Author, "The book of means", and the publisher of it.
"""


@pytest.fixture(scope="module")
def small():
    """Read four small packages in place of all of them; everything else runs as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docstrings, "LIBRARIES", SMALL)
        documents.cache_clear()
        yield documents()
    documents.cache_clear()


def fake(library: str, file: str, *paragraphs: str) -> Document:
    return Document(library, f"{file}:object", paragraphs)


GOOGLE_AND_SPHINX_STYLE = """Args:
    rate (float): how fast the weights are moved.
    size (`int`, *optional*):
        Number of the rows in a batch.

:param path: where the file is to be written.
:type path: the name of a class of the module.
"""
DROPPED_INSIDE = "The first one is kept. See x = y[0] for the code. The third one is kept."
# "... number of values [1]_." loses the citation; the sentence with the link is dropped.
NUMPY_RUNS = [
    ["Return the mean of the given values."],
    ["The mean is sum over the number of values.", "It is computed in double precision."],
    ["Axis along which the means are computed."],
    ["The first call shows the usual case."],
]
DESCRIPTIONS = [
    ["How fast the weights are moved."],
    ["Number of the rows in a batch."],
    ["Where the file is to be written."],
]
RUNS = {
    "the prose of NumPy's style": (NUMPY_STYLE, NUMPY_RUNS),
    "descriptions without names and types": (GOOGLE_AND_SPHINX_STYLE, DESCRIPTIONS),
    "a run up to a dropped sentence": (
        DROPPED_INSIDE,
        [["The first one is kept."], ["The third one is kept."]],
    ),
}


@pytest.mark.parametrize("gives", RUNS)
def test_a_docstring_gives(gives):
    docstring, runs = RUNS[gives]
    assert sentence_runs(docstring) == runs


@pytest.mark.parametrize(
    "block",
    [
        "It is, as a rule, used so::\n\n    The code is not a sentence of this.\n\n",
        "```python\nThe code is not a sentence of this.\n```\n",
        ".. code-block:: python\n\n    The code is not a sentence of this.\n\n",
        "| The code is not | a sentence of this. |\n\n",
    ],
)
def test_code_and_tables_are_dropped(block):
    found = [sentence for run in sentence_runs(block + "This is kept in full.") for sentence in run]
    assert found == ["This is kept in full."]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("A :class:`~a.b.Name` of ``x``.", "A Name of x."),
        ("A `link <https://a.org>`_ here.", "A link here."),
        ("A [`Model`] and [text](https://a.org).", "A Model and text."),
        ("Call **it** *now*.", "Call it now."),
    ],
)
def test_inline_markup_is_reduced_to_what_is_read(markup, text):
    assert plain_text(markup) == text


@pytest.mark.parametrize(
    "sentence",
    [
        "The value of x = y + 1 is it.",
        "see the value of the thing.",
        "The value of the thing",
        "Die Werte werden gemittelt und sortiert.",
        "Set the a_b of the c_d and the e_f of the g_h to i_j or k_l.",  # 10 of 16 are words
        "The value (of the thing is it.",
        "As described by the work of.",
    ],
)
def test_what_is_no_whole_english_sentence_is_refused(sentence):
    assert not is_prose(sentence)


def test_abbreviations_end_no_sentence():
    text = "Use a mark, e.g. The X. It is due to B. Smith."
    assert split_sentences(text) == ["Use a mark, e.g. The X. It is due to B. Smith."]
    assert split_sentences("It is one. It is two.") == ["It is one.", "It is two."]


def test_a_sentence_passes_once_also_with_another_class_name_or_one_word_changed():
    copies = CopyFilter()
    first = "Build the FooModel from the given list of layers and a seed."
    assert copies.is_new(first)
    assert not copies.is_new(first)
    assert not copies.is_new(first.replace("FooModel", "BarModel"))
    # One of 12 words changed: 4 of the 9 shingles of 4 words hold word 5, so 5/9 > 0.5 are seen.
    assert not copies.is_new(first.replace("given", "chosen"))
    # Without the names being alike, 3 of the 5 shingles would be new.
    assert copies.is_new("Add FooLayer to BarStack of the other kind.")
    assert not copies.is_new("Add OneLayer to TwoStack of the other kind.")
    assert copies.is_new("Return the largest value along an axis of this array.")


def test_docstrings_are_read_without_running_the_file(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        '"""Of the module."""\nraise SystemExit\nclass A:\n    """Of the class."""\n'
        '    def f(self):\n        """Of the method."""\n'
        "add_newdoc('place', 'name', '''\nOf the C function.\n''')\n"
        "try:\n    made = place._add_docstr(a.b, '''\nOf another one.\n''')\nfinally:\n    pass\n"
    )
    assert list(docstrings.docstrings(file)) == [
        ("module", "Of the module."),
        ("A", "Of the class."),
        ("A.f", "Of the method."),
        ("place name", "Of the C function."),
        ("a.b", "Of another one."),
    ]


@pytest.mark.parametrize("missing", ["no_such_package", "click/no_such_folder"])
def test_a_missing_package_is_named(monkeypatch, missing):
    monkeypatch.setattr(docstrings, "LIBRARIES", ("click", missing))
    with pytest.raises(InputError, match=rf"'{missing}' is missing.*requirements\.lock"):
        docstrings.source_files()


def test_of_a_package_its_named_folder_alone_is_read(monkeypatch):
    monkeypatch.setattr(docstrings, "LIBRARIES", ("rich/_unicode_data",))
    files = docstrings.source_files()
    assert files
    for library, parent, file in files:
        assert library == "rich"
        assert file.relative_to(parent).parts[:2] == ("rich", "_unicode_data")


def test_the_text_is_the_same_whatever_the_hash_seed(tmp_path):
    program = (
        "import hashlib; from tinybert.tasks.embedded import tasks\n"
        "from tinybert.text.embedded import docstrings\n"
        f"docstrings.LIBRARIES = {SMALL!r}\n"
        "text = repr(docstrings.documents()) + repr([frame.to_csv() for kind in "
        "('acceptability', 'similarity', 'summary') "
        "for frame in tasks.make_task(kind, 50, 10, 10, 1).values()])\n"
        "print(hashlib.sha256(text.encode()).hexdigest(), len(text))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "DVC_ROOT": str(tmp_path / seed)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    digests = [run.communicate()[0].split("\n")[-2] for run in runs]
    assert digests[0] == digests[1]
    assert int(digests[0].split()[1]) > 100_000  # something was read at all


def test_each_sentence_occurs_once(small):
    sentences = [text for d in small for p in d.paragraphs for text in split_sentences(p)]
    assert len(sentences) > 1000
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("seed", range(2))
def test_splits_share_no_file_and_no_near_copy(small, seed):
    shares = splits.split_documents(list(small), seed)
    for one, two in combinations(shares, 2):
        assert not {d.file for d in shares[one]} & {d.file for d in shares[two]}
        # Every couple compared, where the code compares those with a rare word in common.
        sets_one, sets_two = (
            [set(normalised_words(text)) for text in splits.all_sentences(shares[split])]
            for split in (one, two)
        )
        assert max(len(a & b) / len(a | b) for a in sets_one for b in sets_two) < 0.8


def test_another_seed_deals_the_files_differently(small):
    one, two = (
        {d.file for d in splits.split_documents(list(small), seed)["test"]} for seed in (0, 1)
    )
    assert one != two


def test_leaving_a_near_copy_out_keeps_neighbours_neighbours():
    known = NearCopies(["The second one is a near copy of another sentence here."])
    one, three = "The first of them stays.", "The third of them stays."
    two = "The second one is a near copy of any sentence here."
    left = splits._without(fake("a", "a.py", f"{one} {two} {three}"), known)
    assert left.paragraphs == (one, three)


def test_a_near_copy_is_one_with_four_fifths_of_the_words():
    known = NearCopies(["one two three four five six seven eight nine"])
    # 8 of 9 + 1 words are in both: 8 / 10 = 0.8. Then 7 of 9 + 2: 7 / 11 = 0.64.
    assert "one two three four five six seven eight other" in known
    assert "one two three four five six seven other more" not in known
    # 22 of 25 + 3 words: 22 / 28 = 0.786, just too few; 23 of 25 + 2 are 23 / 27 = 0.852.
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrtuvwxyz"]
    known = NearCopies([" ".join(words)])
    assert " ".join(["here", "there", "where", *words[3:]]) not in known
    assert " ".join(["here", "there", *words[2:]]) in known


def test_the_shares_are_kept_within_a_tenth(small):
    shares = splits.split_documents(list(small), seed=3)
    sizes = {split: sum(len(d.paragraphs) for d in found) for split, found in shares.items()}
    for split, share in splits.SHARES.items():
        assert abs(sizes[split] / sum(sizes.values()) - share) < 0.1


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("acceptability", {"unacceptable", "acceptable"}),
        ("similarity", None),
        ("summary", {"mismatch", "match"}),
    ],
)
def test_a_task_has_its_rows_columns_and_labels(small, kind, labels):
    made = make_task(kind, 60, 20, 20, seed=1)
    sizes = {"train": 60, "dev": 20, "test": 20}
    assert {split: len(frame) for split, frame in made.items()} == sizes
    pair = [] if kind == "acceptability" else ["sentence2"]
    for frame in made.values():
        assert list(frame) == ["sentence1", *pair, "label"]
        if labels:
            assert set(frame["label"]) == labels
            assert frame["label"].value_counts().max() - len(frame) / 2 <= 1
        else:
            assert frame["label"].dtype == float
            assert frame["label"].between(0, 5).all()
            assert frame["label"].std() > 1  # spread over the range


def test_more_training_rows_change_neither_dev_nor_the_first_rows(small):
    few, many = make_task("summary", 40, 20, 20, 1), make_task("summary", 80, 20, 20, 1)
    pd.testing.assert_frame_equal(few["dev"], many["dev"])
    pd.testing.assert_frame_equal(few["train"], many["train"][:40])


def test_another_seed_gives_other_rows(small):
    one, two = (make_task("summary", 40, 20, 20, seed)["dev"] for seed in (1, 2))
    assert not one.equals(two)


def test_too_little_text_says_how_much_there_is(small):
    with pytest.raises(InputError, match=r"train, got 999999 rows.*has \d+") as caught:
        make_task("summary", 999_999, 10, 999_999, 0)
    assert len(caught.value.problems) == 2


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(InputError, match="got 'topics'; known: acceptability, names, similarity"):
        make_task("topics", 1, 1, 1, 0)


def test_a_corruption_keeps_the_ends_and_changes_little():
    sentence = "Return the shape of the arrays that are computed by the given function."
    seen = set()
    for seed in range(200):
        changed = corrupt(sentence, random.Random(seed))
        assert changed is not None and changed != sentence
        words = changed.split()
        assert (words[0], words[-1]) == ("Return", "function.")
        assert abs(len(words) - len(sentence.split())) <= 1
        seen.add(changed)
    assert len(seen) > 10


@pytest.mark.parametrize("start", ["in values", "a values", "Values"])
def test_a_corruption_starts_after_the_first_word_and_needs_a_fitting_place(start):
    # The one function word is the first one, and nothing else gives a fault a place.
    sentence = f"{start} shown here first."
    assert all(corrupt(sentence, random.Random(seed)) is None for seed in range(20))


def test_the_grade_is_five_times_dice_of_the_content_words():
    assert grade("The mean of an array.", "An array and the mean.") == 5.0
    # {mean, array, values} and {mean, list, values, rows}: 5 * 2 * 2 / (3 + 4) = 2.857
    assert grade("The mean array values.", "The mean of list values rows.") == 2.857
    assert grade("The mean of it.", "The array of it.") == 0.0


def test_derived_sentences_reach_from_alike_to_unlike():
    first = "Compute the mean value of the given array along one axis."
    other = "Draw each polygon with the colour that the style sheet names."
    grades = [derive(first, other, random.Random(seed))[1] for seed in range(300)]
    assert min(grades) < 1 and max(grades) > 4
    assert len(set(grades)) > 8


def test_words_are_replaced_in_any_number():
    # Nine content words against nine others: each number replaced is a grade of its own.
    first = "Red green blue black white brown grey pink orange."
    other = "North south east west coast river hill lake wood."
    grades = {grade(first, _replace_words(first, other, random.Random(n))) for n in range(200)}
    assert len(grades) == 10


def test_files_are_read_in_sorted_order(small):
    files = [d.file for d in small if d.library == "click"]
    assert all(one <= two for one, two in pairwise(files))


def test_a_subject_is_told_by_the_place_and_other_places_are_left_out():
    found = [
        fake("scipy", "scipy/stats/a.py", "One."),
        fake("scipy", "scipy/signal/a.py", "Two."),
        fake("scipy", "scipy/optimize/a.py", "Three."),
        fake("flask", "flask/app.py", "Four."),
    ]
    told = {d.paragraphs[0]: d.library for d in passages.by_subject(found)}
    assert told == {"One.": "statistics", "Two.": "signal_processing", "Four.": "web"}


def test_a_passage_holds_following_plain_sentences_up_to_its_length():
    words = " ".join(["word"] * 15)
    plain = [f"The {number} {words}." for number in ("one", "two", "three", "four")]  # 17 words
    named = f"The torch {words}."
    short = "This is too short for one."
    found = fake("a", "a.py", f"{plain[0]} {named}", f"{plain[1]} {plain[2]} {plain[3]} {short}")
    # 34 words; a third would make 51, over 40. The last: 17 + 17 + 6 = 40, just what is allowed.
    assert list(passages.passages(found)) == [
        f"{plain[0]} {plain[1]}",
        f"{plain[2]} {plain[3]} {short}",
    ]
    assert list(passages.passages(fake("a", "a.py", short))) == []


def test_how_docstrings_begin_comes_before_their_further_passages():
    text = " ".join(["word"] * 30)
    found = [
        fake("scipy", f"{place}/{n}.py", f"First {text}.", f"Second {text}.")
        for place in ("scipy/stats", "flask")
        for n in range(5)
    ]
    rows = passages.subject_rows(passages.by_subject(found), random.Random(0))
    assert [str(row["sentence1"]).split()[0] for row in rows] == ["First"] * 10 + ["Second"] * 10
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        assert {one["label"], two["label"]} == {"statistics", "web"}  # in turns: balanced


def test_a_subject_without_more_rows_leaves_the_turn_to_the_others():
    text = " ".join(["word"] * 30)
    found = [fake("a", f"flask/{n}.py", f"First {text}.") for n in range(3)]
    found.append(fake("a", "scipy/stats/a.py", f"First {text}."))
    rows = passages.subject_rows(passages.by_subject(found), random.Random(0))
    assert sorted(str(row["label"]) for row in rows) == ["statistics", "web", "web", "web"]
    assert {row["label"] for row in rows[:2]} == {"statistics", "web"}


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("Draw the lines of the grid, e.g. the major ones.", True),
        ("The FFT is of length 8 and order 2.5 here.", True),
        ("Set max_iter to a number.", False),
        ("The DataFrame is kept.", False),
        ("It is a file.txt of it.", False),
        ("The PyTorch way of it.", False),
    ],
)
def test_a_plain_sentence_names_no_package_and_no_identifier(sentence, plain):
    assert passages.is_plain(sentence) == plain


def test_half_of_the_summaries_stand_beside_another_description():
    text = " ".join(["word"] * 11)
    found = [
        fake("a", f"{n}.py", f"This sums up number {letter}.", f"Described {text} is {letter}.")
        for n, letter in enumerate("abcdefgh")
    ]
    rows = passages.summary_rows(found, random.Random(0))
    for row in rows:
        letters = [str(row[key])[-2] for key in ("sentence1", "sentence2")]
        assert (letters[0] == letters[1]) == (row["label"] == "match")
    assert [row["label"] for row in rows].count("match") == 4
    # Every text once, so none tells the label.
    assert sorted(str(row["sentence2"])[-2] for row in rows) == list("abcdefgh")


@pytest.mark.parametrize(
    "paragraphs",
    [
        (),
        ("This sums it up here.",),
        ("This sums it up here.", "Too short to describe it."),
        (
            "This sums up torch here.",
            "A description that is long enough to be one, having many words.",
        ),
    ],
)
def test_a_docstring_without_summary_or_description_gives_no_row(paragraphs):
    assert passages.summary_and_description(fake("a", "a.py", *paragraphs)) is None
