"""The corpus in rows that two tokenizers read alike."""

import numpy as np
import pytest

from tests.fixtures.refused import refused
from tests.fixtures.tokenizers import TEXTS, tokenizer_of
from tinybert.text import aligned_blocks as blocks
from tinybert.text.aligned_blocks import aligned_blocks
from tinybert.text.batching import collate

OURS, THEIRS = tokenizer_of("wordpiece"), tokenizer_of("byte_level")
LENGTH = 24
DOCUMENTS = [[TEXTS[(n + k) % len(TEXTS)] for k in range(n % 4 + 1)] for n in range(30)]


def write(folder, documents=DOCUMENTS):
    text = folder / "text.txt"
    text.write_text("".join("\n".join([*each, "", ""]) for each in documents))
    return text


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return aligned_blocks(write(folder), OURS, THEIRS, LENGTH, 0, folder / "rows")


def each_row(rows):
    """Yield a row's tokens and units, of the student and of the teacher."""
    for number in range(len(rows)):
        row = rows[number]
        yield row, row["beside"]


def test_all_text_is_read_once_and_in_order_by_both(rows):
    paragraphs = [paragraph for document in DOCUMENTS for paragraph in document]
    for number, tokenizer in enumerate((OURS, THEIRS)):
        read = []
        for sides in each_row(rows):
            ids = sides[number]["ids"]
            read += ids[~np.isin(ids, [tokenizer.cls_token_id, tokenizer.sep_token_id])].tolist()
        whole = tokenizer(paragraphs, add_special_tokens=False)["input_ids"]
        assert read == [token for of in whole for token in of]


def test_rows_are_as_long_as_the_block_length_allows_both(rows):
    longest = []
    for ours, theirs in each_row(rows):
        longest.append(max(len(ours["ids"]), len(theirs["ids"])))
        assert len(ours["units"]) == len(ours["ids"])
    assert max(longest) <= LENGTH
    # Less than a row lacks by two special tokens and a unit's pieces.
    assert np.mean(longest) > LENGTH - 6


def test_units_of_a_row_are_consecutive_and_of_the_same_text(rows):
    plain = {"[CLS]": "<s>", "[SEP]": "</s>"}
    for ours, theirs in each_row(rows):
        number = int(ours["units"].max())
        assert number == int(theirs["units"].max())
        tokens = OURS.convert_ids_to_tokens(ours["ids"].tolist())
        for unit in range(1, number + 1):
            mine = [tokens[n] for n in np.flatnonzero(ours["units"] == unit)]
            other = THEIRS.decode(theirs["ids"][theirs["units"].numpy() == unit])
            other = other.replace(" ", "").lower()
            assert mine
            assert other
            if "[UNK]" not in mine and other.isascii():
                said = "".join(plain.get(each, each.removeprefix("##")) for each in mine)
                assert said == other


def test_segments_part_documents_and_half_of_the_other_rows(rows):
    seconds = rows.targets["second"]
    assert set(seconds.tolist()) == {-1, 0, 1}
    for number, (ours, theirs) in enumerate(each_row(rows)):
        for row, tokenizer in ((ours, OURS), (theirs, THEIRS)):
            seps = np.flatnonzero(row["ids"] == tokenizer.sep_token_id)
            assert row["ids"][0] == tokenizer.cls_token_id
            assert seps[-1] == len(row["ids"]) - 1
            assert len(seps) == (1 if seconds[number] < 0 else 2)
            assert row["first_length"] == seps[0] + 1
        assert ours["second"] == seconds[number]


def test_rows_are_made_once_and_those_of_parts_are_as_good(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(blocks, "CHARACTERS_AT_ONCE", 200)
    text = write(tmp_path)
    parts = aligned_blocks(text, OURS, THEIRS, LENGTH, 0, tmp_path / "rows")
    test_all_text_is_read_once_and_in_order_by_both(parts)
    text.unlink()
    again = aligned_blocks(text, OURS, THEIRS, LENGTH, 0, tmp_path / "rows")
    assert np.array_equal(again.ids, parts.ids)
    batch = collate([parts[0], parts[1]], 0)
    assert batch["teacher_input_ids"].shape[0] == 2
    assert batch["second"].shape == (2,)


def test_text_that_gives_no_row_is_refused(tmp_path):
    text = write(tmp_path, [["\x00"]])
    line = refused(aligned_blocks, text, OURS, THEIRS, LENGTH, 0, tmp_path / "rows")
    assert "got 0 rows" in line
