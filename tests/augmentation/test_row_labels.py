"""Copies of tagged words, and of questions with passages, have labels that fit their texts."""

import re

import numpy as np
import pandas as pd
import pytest
from gensim.models import KeyedVectors

from tests.fixtures.small_masked_lm import KEPT, WORDS, masked_words, random_sentences, watch
from tinybert.augmentation.row_labels import labels_of
from tinybert.augmentation.sampling import Augmenter
from tinybert.augmentation.slots import Change, Slot
from tinybert.tasks.task import TaskInfo
from tinybert.tasks.words import split_words

TAGS = ["O", "B-LOC", "I-LOC"]


def info_of(kind, labels):
    metrics = {"tokens": ["entity_f1"], "span": ["squad_f1"]}.get(kind, ["accuracy"])
    return TaskInfo(
        name="t", kind=kind, labels=labels, metrics=metrics, pair=kind == "span", num_rows={}
    )


@pytest.fixture
def vectors():
    words = ["catdog", "near", "nearest of all", "", "far"]
    found = KeyedVectors(vector_size=2)
    values = [[1, 0], [1, 0.2], [1, 0.1], [1, 0.15], [-1, 0]]
    found.add_vectors(words, np.array(values, dtype=np.float32))
    return found


@pytest.fixture
def augment(model, tokenizer, vectors):
    """Return a function of a kind's rows that gives the rows with their copies."""

    def run(frame, kind, labels=(), entity_words="keep", p=0.6, copies=12, num_candidates=5):
        maker = Augmenter(
            masked_words(model, tokenizer, num_candidates=num_candidates),
            vectors,
            replace_probability=p,
            num_copies=copies,
            seed=1,
            labels=labels_of(info_of(kind, list(labels)), frame, entity_words),
        )
        chosen = np.ones(len(frame), dtype=bool)
        run.counts = maker.counts
        run.maker = maker
        return pd.concat(maker.augment(frame, chosen), ignore_index=True)

    return run


def tagged(*rows):
    """Return rows of a text, the borders of its words and their tags."""
    return pd.DataFrame(
        {
            "sentence1": [text for text, _, _ in rows],
            "word_starts": pd.Series([np.array([s for s, _ in of]) for _, of, _ in rows]),
            "word_ends": pd.Series([np.array([e for _, e in of]) for _, of, _ in rows]),
            "label": pd.Series([np.array(tags) for _, _, tags in rows]),
        }
    )


def random_tagged(count):
    generator = np.random.default_rng(5)
    rows = []
    for sentence in random_sentences(count):
        text = sentence.replace(" ", "  ", 1).replace(" ", "-", 2) + ", catdog."
        words = split_words(text)
        tags = generator.choice([0, 0, 1], size=len(words))
        rows.append((text, list(zip(words.starts, words.ends, strict=True)), tags))
    return tagged(*rows)


def words_of(row):
    places = zip(row.word_starts, row.word_ends, strict=True)
    return [row.sentence1[start:end] for start, end in places]


def between(row):
    """Return what stands before, between and after the words of a row."""
    starts = [*row.word_starts, len(row.sentence1)]
    ends = [0, *row.word_ends]
    return [row.sentence1[end:start] for end, start in zip(ends, starts, strict=True)]


@pytest.mark.parametrize("entity_words", ["keep", "replace"])
def test_a_copy_has_the_words_of_its_tags_and_everything_between_them(augment, entity_words):
    frame = random_tagged(30)
    out = augment(frame, "tokens", TAGS, entity_words)
    assert len(out) > 200
    of_entities = 0
    for row in out.itertuples():
        original = frame.iloc[row.row]
        assert row.label.tolist() == original.label.tolist()
        assert between(row) == between(original)
        for word, own, tag in zip(words_of(row), words_of(original), row.label, strict=True):
            candidates = [*WORDS, *KEPT, "near", "far"]
            assert word == own or (word in candidates and own in [*WORDS, "catdog"])
            of_entities += bool(word != own and tag)
    assert (of_entities > 0) == (entity_words == "replace")
    assert (augment.counts["words_entity"] > 0) == (entity_words == "keep")
    originals = out.drop_duplicates("row").drop(columns="row").reset_index(drop=True)
    pd.testing.assert_frame_equal(originals, frame)


def test_a_word_of_a_row_may_hold_several_that_are_replaced_by_themselves(augment):
    text = "old dog-house, (cat's) red"
    frame = tagged((text, [(0, 3), (4, 14), (15, 22), (23, 26)], [0, 0, 0, 2]))
    for row in augment(frame, "tokens", TAGS, p=1.0).iloc[1:].itertuples():
        old, house, cat, red = words_of(row)
        assert re.fullmatch(r"(?!dog)\w+-(?!house)\w+,", house)
        assert re.fullmatch(r"\((?!cat)\w+'s\)", cat)
        assert (old != "old", red) == (True, "red")


def test_what_lies_over_a_border_of_words_stays(augment):
    # The task parts catdog in two, and its first word begins inside of "tree".
    frame = tagged(("tree catdog red", [(2, 4), (5, 8), (8, 11), (12, 15)], [0, 0, 0, 0]))
    out = augment(frame, "tokens", TAGS, p=1.0)
    assert len(out) > 1
    assert out.sentence1.str.startswith("tree catdog ").all()
    assert augment.counts["words_kept"] == 2


def test_candidates_that_are_no_single_word_are_not_taken(augment):
    row = ("catdog", [(0, 6)], [0])
    out = augment(tagged(row), "tokens", TAGS, p=1.0, copies=30, num_candidates=4)
    assert set(out.sentence1) == {"catdog", "near", "far"}
    # Of the two nearest neither is a word: nothing is left to take.
    out = augment(tagged(row), "tokens", TAGS, p=1.0, copies=30, num_candidates=2)
    assert set(out.sentence1) == {"catdog"}
    assert augment.counts["words_no_vector"] == 1
    whole = pd.DataFrame({"sentence1": ["catdog"], "label": [0]})
    out = augment(whole, "classification", ["no", "yes"], p=1.0, copies=30, num_candidates=2)
    assert set(out.sentence1) == {"catdog", "nearest of all", ""}


def test_tags_without_prefixes_are_of_words_that_stay(augment):
    frame = tagged(("the cat runs", [(0, 3), (4, 7), (8, 12)], [0, 1, 2]))
    assert len(augment(frame, "tokens", ["DET", "NOUN", "VERB"])) == 1
    assert len(augment(frame, "tokens", ["DET", "NOUN", "VERB"], "replace")) > 1


def test_words_that_stay_are_not_asked_for(augment, model):
    # In the second row of the same text the tags leave "cat" free.
    places = [(0, 3), (4, 7), (8, 12)]
    frame = tagged(("big cat runs", places, [0, 1, 2]), ("big cat runs", places, [0, 0, 1]))
    seen = watch(model)
    augment(frame, "tokens", TAGS)
    assert sum(len(batch) for batch in seen) == augment.maker.answers.num_asked == 2
    augment(frame, "tokens", TAGS, "replace")
    assert augment.maker.answers.num_asked == 3


PASSAGE = "The  big cat\n\nruns; a catdog sees the small dog.\r\n\tA red house  is\u2028old, old "


def asked(*rows):
    """Return rows of a question, and the answers by text with the place where to look from."""
    answers = [
        [{"start": PASSAGE.index(text, start), "text": text} for text, start in of]
        for _, _, of in rows
    ]
    return pd.DataFrame(
        {
            "sentence1": [question for question, _, _ in rows],
            "sentence2": PASSAGE,
            "id": [name for _, name, _ in rows],
            "label": pd.Series([np.array(of, dtype=object) for of in answers]),
        }
    )


QUESTIONS = asked(
    ("who sees a dog?", "q", [("catdog sees", 0), ("a catdog", 0), ("catdog sees", 0)]),
    ("what is old?", "q#1", [("house", 0), ("red house  is\u2028old", 0)]),
    ("who walks?", "none", []),
    ("what is part of a word?", "part", [("mal", 0), ("old", PASSAGE.index(", "))]),
)


def test_answers_of_copies_are_in_their_passages(augment):
    out = augment(QUESTIONS, "span")
    changed = {"sentence1": 0, "sentence2": 0}
    moved = 0
    for row in out.itertuples():
        original = QUESTIONS.iloc[row.row]
        assert [of["text"] for of in row.label] == [of["text"] for of in original.label]
        for answer, own in zip(row.label, original.label, strict=True):
            start, text = answer["start"], answer["text"]
            assert row.sentence2[start : start + len(text)] == text
            assert len(re.findall(r"\w+", row.sentence2[:start])) == len(
                re.findall(r"\w+", PASSAGE[: own["start"]])
            )  # the same words stand before it, replaced ones or not
            moved += start != own["start"]
        assert re.sub(r"\w+", "w", row.sentence2) == re.sub(r"\w+", "w", PASSAGE)
        for side in changed:
            changed[side] += int(getattr(row, side) != original[side])
    assert min(changed.values()) > 10 and moved > 20
    assert (out[out.row == 2].sentence2 != PASSAGE).sum() > 5  # without an answer too
    originals = out.drop_duplicates("row").drop(columns="row").reset_index(drop=True)
    pd.testing.assert_frame_equal(originals[list(QUESTIONS)], QUESTIONS)


def test_every_word_that_no_answer_touches_is_replaced_and_no_other(augment):
    out = augment(QUESTIONS[3:].reset_index(drop=True), "span", p=1.0)
    passages = out[out.sentence2 != PASSAGE].sentence2
    assert len(passages) > 5
    # The passage's words but function words, and "small", of which "mal" is a part; the first
    # "old" is no answer, the last one is.
    pattern = (
        r"The  (?!big)\w+ (?!cat)\w+\n\n(?!runs)\w+; a (?!catdog)\w+ (?!sees)\w+ the "
        r"small (?!dog)\w+\.\r\n\tA (?!red)\w+ (?!house)\w+  is\u2028(?!old)\w+, old "
    )
    assert passages.str.fullmatch(pattern).all()


def test_names_of_copies_are_unique_and_tell_their_original(augment):
    out = augment(QUESTIONS, "span")
    assert not out.id.duplicated().any()
    for row, group in out.groupby("row"):
        name = QUESTIONS.id[row]
        assert group.id.iloc[0] == name
        numbers = range(1, len(group)) if name != "q" else range(2, len(group) + 1)  # q#1 is taken
        assert group.id.iloc[1:].tolist() == [f"{name}#{number}" for number in numbers]


def test_places_move_by_the_lengths_of_the_words_before_them():
    generator = np.random.default_rng(0)
    for _ in range(50):
        own = generator.choice(["a", "bbb", "cc"], size=9)
        replaced = np.where(generator.random(9) < 0.5, "dddd", own)
        gaps = generator.integers(0, 3, size=10)  # words may touch
        free = generator.random(9) < 0.7
        replaced = np.where(free, replaced, own)
        sizes, new_sizes = ([len(word) for word in of] for of in (own, replaced))
        starts = np.cumsum(gaps[:9]) + np.cumsum([0, *sizes[:-1]])
        expected = np.cumsum(gaps[:9]) + np.cumsum([0, *new_sizes[:-1]])
        slots = [
            Slot((int(start), int(start) + size), "masked", ("dddd",))
            for start, size, may in zip(starts, sizes, free, strict=True)
            if may
        ]
        change = Change("sentence1", slots, tuple(replaced[free].tolist()))
        assert change.moved(starts).tolist() == expected.tolist()
        assert change.moved(starts + sizes).tolist() == (expected + new_sizes).tolist()


@pytest.mark.parametrize("pair", [False, True])
def test_labels_of_whole_rows_leave_algorithm_1_as_it_was(augment, pair):
    texts = [text for text in random_sentences(30) if "catdog" not in text][:16]
    frame = pd.DataFrame({"sentence1": texts[:8], "label": np.arange(8) % 2})
    if pair:
        frame.insert(1, "sentence2", texts[8:])
    out = augment(frame, "classification", ["no", "yes"], copies=4)
    for row, group in out.groupby("row"):
        generator = np.random.default_rng([1, row])
        sides = frame.iloc[row].drop("label").to_dict()
        expected = [sides]
        for side, text in sides.items():
            slots = [slot for slot in augment.maker.find_slots([text])[text] if slot.words]
            replaced = generator.random((4, len(slots))) < 0.6
            numbers = generator.integers(0, [len(s.words) for s in slots], size=(4, len(slots)))
            for marks, chosen in zip(replaced, numbers, strict=True):
                copy = text
                for slot, mark, number in reversed(list(zip(slots, marks, chosen, strict=True))):
                    word = slot.words[number] if mark else text[slice(*slot.span)]
                    copy = copy[: slot.span[0]] + word + copy[slot.span[1] :]
                expected.append(sides | {side: copy})
        distinct = list({tuple(each.values()): each for each in expected}.values())
        assert group[list(sides)].to_dict("records") == distinct
        assert (group.label == frame.label[row]).all()


def test_places_of_answers_are_of_the_passage_not_of_the_question(augment):
    # "sees" is where the passage has its answer "big cat".
    frame = asked(("who sees", "q", [("big cat", 0)]))
    out = augment(frame, "span", p=1.0)
    assert (out[out.sentence1 != "who sees"].sentence2 == PASSAGE).all()
    assert len(out[out.sentence1 != "who sees"]) > 1
