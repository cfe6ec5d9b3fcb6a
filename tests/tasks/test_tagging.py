"""Schemes of tags are told apart, and lead to the same IOB2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.tasks.tagging import Tagging, find_tagging, needless, to_iob2

# Two places in a row, of two words and of one; a person right after; a lone word.
IOB2 = ["B-LOC", "I-LOC", "B-LOC", "B-PER", "O", "B-PER"]
IN_SCHEMES = {
    "IOB2": IOB2,
    "IOB1": ["I-LOC", "I-LOC", "B-LOC", "I-PER", "O", "I-PER"],
    "BIOES": ["B-LOC", "E-LOC", "S-LOC", "S-PER", "O", "S-PER"],
    "BILOU": ["B-LOC", "L-LOC", "U-LOC", "U-PER", "O", "U-PER"],
    "BMEO": ["B-LOC", "E-LOC", "S-LOC", "S-PER", "O", "S-PER"],
}


def converted(tags: list[str]) -> list[str]:
    tagging = find_tagging([tags])
    assert tagging is not None
    found, faults = to_iob2(tags, tagging)
    assert faults == []
    return found


def faults(tags: list[str], scheme: str) -> dict[int, str]:
    found, wrong = to_iob2(tags, Tagging(scheme, "-"))
    assert not wrong or found == ["O"] * len(tags)
    return dict(wrong)


@pytest.mark.parametrize("scheme", IN_SCHEMES)
def test_each_scheme_is_told_and_leads_to_the_same_tags(scheme):
    tags = IN_SCHEMES[scheme]
    expected = "BIOES" if scheme in ("BILOU", "BMEO") else scheme
    assert find_tagging([tags]) == Tagging(expected, "-")
    assert converted(tags) == IOB2


def test_the_middle_of_bmes_goes_on():
    assert converted(["B-A", "M-A", "E-A"]) == ["B-A", "I-A", "I-A"]


entities = st.lists(
    st.tuples(st.sampled_from("XY"), st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=6
)


def written(found: list[tuple[str, int, int]], scheme: str) -> list[str]:
    """Write entities (type, words, words outside after it) in a scheme, word by word."""
    tags: list[str] = []
    for name, size, gap in found:
        first = "B"
        if scheme == "IOB1" and not (tags and tags[-1].endswith(f"-{name}")):
            first = "I"
        prefixes = [first, *["I"] * (size - 1)]
        if scheme == "BIOES":
            prefixes = ["S"] if size == 1 else ["B", *["I"] * (size - 2), "E"]
        tags += [f"{prefix}-{name}" for prefix in prefixes] + ["O"] * gap
    return tags


@given(entities, st.sampled_from(["IOB1", "IOB2", "BIOES"]))
def test_any_entities_survive_the_change_of_scheme(found, scheme):
    tags = written(found, scheme)
    if scheme == "BIOES" or find_tagging([tags]) != Tagging("BIOES", "-"):
        assert find_tagging([tags]) == Tagging(scheme, "-")
    assert converted(tags) == written(found, "IOB2")
    assert needless(tags, Tagging(scheme, "-")) == []


def test_without_prefixes_tags_stay_and_without_entities_nothing_is_told():
    assert find_tagging([["NN", "VB"], ["O"]]) == Tagging("plain", "-")
    assert to_iob2(["NN", "O"], Tagging("plain", "-")) == (["NN", "O"], [])
    assert find_tagging([["O", "O"], []]) is None


def test_underscores_and_tags_without_types_are_read():
    assert converted(["B_LOC", "I_LOC", "O"]) == ["B-LOC", "I-LOC", "O"]
    assert converted(["B", "I", "O", "B"]) == ["B-ENTITY", "I-ENTITY", "O", "B-ENTITY"]
    # A type may hold the character that parts it from the prefix.
    assert converted(["B-a-b", "I-a-b"]) == ["B-a-b", "I-a-b"]
    # Letters without O are words' parts in the segmentation of Chinese.
    assert find_tagging([["B", "E", "S"]]) == Tagging("plain", "-")


def test_of_a_file_with_errors_the_majority_decides():
    assert find_tagging([["B-A"], ["B-A"], ["I-A"]]) == Tagging("IOB2", "-")
    assert find_tagging([["I-A"], ["I-A"], ["B-A"]]) == Tagging("IOB1", "-")
    assert find_tagging([["B-A"], ["I-A"]]) == Tagging("IOB2", "-")
    assert find_tagging([["B-A", "E-A"], ["B-A"]]) == Tagging("BIOES", "-")
    # One end among four beginnings is an error, not another scheme.
    assert find_tagging([["B-A", "E-A"], *[["B-A"]] * 3]) == Tagging("IOB2", "-")


def test_an_inside_without_a_beginning_is_refused_in_iob2():
    assert faults(["O", "I-PER"], "IOB2") == {
        1: "impossible order of tags, got I-PER after O in a file read as IOB2, where B- begins "
        "every entity; write B-PER"
    }
    assert "after B-LOC" in faults(["B-LOC", "I-PER"], "IOB2")[1]
    assert "at the beginning of the sentence" in faults(["I-PER"], "IOB2")[0]


def test_a_needless_beginning_of_iob1_is_counted_and_read():
    tags = ["O", "B-PER", "I-PER", "B-PER", "B-LOC"]
    assert needless(tags, Tagging("IOB1", "-")) == [1, 4]
    assert to_iob2(tags, Tagging("IOB1", "-")) == (tags, [])
    assert needless(tags, Tagging("IOB2", "-")) == []


@pytest.mark.parametrize(
    ("tags", "word", "part"),
    [
        (["B-A", "O"], 0, "got B-A before O"),
        (["B-A", "I-A"], 1, "got I-A at the end of the sentence"),
        (["E-A", "O"], 0, "got E-A at the beginning of the sentence"),
        (["S-A", "E-A"], 1, "got E-A after S-A"),
        (["B-A", "E-B"], 1, "got E-B after B-A"),
        (["O", "I-A", "E-A"], 1, "got I-A after O"),
    ],
)
def test_an_order_that_bioes_has_not_is_refused(tags, word, part):
    assert part in faults(tags, "BIOES")[word]


@pytest.mark.parametrize(
    ("tags", "right"), [(["B-A"], "S-A"), (["B-A", "I-A"], "E-A"), (["I-A", "E-A"], "B-A")]
)
def test_the_right_tag_is_named(tags, right):
    (line,) = faults(tags, "BIOES").values()
    assert line.endswith(f"; write {right}")


@pytest.mark.parametrize("tag", ["PER", "X-PER", "S-PER", "B-", "o"])
def test_a_tag_outside_of_the_scheme_is_refused(tag):
    line = faults(["B-PER", tag], "IOB2")[1]
    assert f"no tag of IOB2, got {tag!r}" in line
    assert "write one of O, B-" in line


@pytest.mark.parametrize(
    "tags", [["b-LOC", "i-LOC", "O"], ["b-loc", "o"], ["b_LOC", "O"], ["b", "i", "o"]]
)
def test_prefixes_in_lower_case_are_no_plain_tags(tags):
    assert find_tagging([tags]) == Tagging("IOB2", "-")
    wrong = [tag for tag in tags if tag != "O"]
    assert len(faults(tags, "IOB2")) == len(wrong)
    assert f"no tag of IOB2, got {wrong[0]!r}" in faults(tags, "IOB2")[0]
