from pathlib import Path

import pytest

from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT
from tinybert.settings.reader import parse, read_yaml
from tinybert.tasks.glue import hub_glue, read_glue
from tinybert.tasks.task_file import TaskFile

GLUE = ROOT.parent / "shared" / "data" / "glue"
PARSES = "sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse"
MNLI_HEADER = f"index promptID pairID genre {PARSES} sentence1 sentence2".split()
STS_SOURCES = "genre filename year old_index source1 source2"
STS_HEADER = f"index {STS_SOURCES} sentence1 sentence2".split()


def task(name: str) -> TaskFile:
    file = ROOT / "params" / "tasks" / f"{name}.yaml"
    return parse(TaskFile, read_yaml(file), str(file))


def tsv(file: Path, *rows: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def mnli(folder: Path) -> None:
    row = ["0", "1", "1c", "fiction", "( a )", "( b )", "(ROOT a)", "(ROOT b)", "A premise", "B"]
    tsv(folder / "train.tsv", [*MNLI_HEADER, "label1", "gold_label"], [*row, "neutral", "neutral"])
    five = [f"label{number}" for number in range(1, 6)]
    votes = ["neutral", "entailment", "entailment", "neutral", "entailment"]
    for kind in ("matched", "mismatched"):
        header = [*MNLI_HEADER, *five, "gold_label"]
        tsv(folder / f"dev_{kind}.tsv", header, [*row, *votes, "entailment"])
        tsv(folder / f"test_{kind}.tsv", MNLI_HEADER, row)


def refusal(sources: Path, name: str) -> str:
    return refused(read_glue, sources, task(name))


def test_mnli_takes_the_gold_label_and_has_both_dev_and_test_sets(tmp_path: Path) -> None:
    mnli(tmp_path / "MNLI")
    tables = read_glue(tmp_path, task("mnli"))
    assert list(tables) == ["train", "dev", "dev_mm", "test", "test_mm"]
    assert tables["dev"].label == ["entailment"]
    assert tables["dev_mm"].place.endswith("dev_mismatched.tsv")
    assert tables["test"].label is None
    assert tables["train"].sentence1 == ["A premise"]


@pytest.mark.parametrize("file", ["AX/AX.tsv", "diagnostic/diagnostic.tsv"])
def test_the_diagnostic_set_is_an_unlabelled_split_of_mnli(tmp_path: Path, file: str) -> None:
    mnli(tmp_path / "MNLI")
    tsv(tmp_path / file, ["index", "sentence1", "sentence2"], ["0", "The cat", "A cat"])
    table = read_glue(tmp_path, task("mnli"))["ax"]
    assert (table.sentence1, table.sentence2, table.label) == (["The cat"], ["A cat"], None)


def test_sts_b_has_scores_and_qqp_has_questions(tmp_path: Path) -> None:
    sts = ["0", "news", "MSR", "2012", "1", "none", "none", "A plane.", "A jet.", "4.2"]
    qqp = ["id", "qid1", "qid2", "question1", "question2"]
    for split in ("train", "dev"):
        tsv(tmp_path / "STS-B" / f"{split}.tsv", [*STS_HEADER, "score"], sts)
        row = ["9", "1", "2", "Why?", "How?", "0"]
        tsv(tmp_path / "QQP" / f"{split}.tsv", [*qqp, "is_duplicate"], row)
    tsv(tmp_path / "STS-B" / "test.tsv", STS_HEADER, sts[:-1])
    tsv(tmp_path / "QQP" / "test.tsv", qqp, ["0", "1", "2", "Who?", "What?"][:5])
    similar, duplicate = read_glue(tmp_path, task("stsb")), read_glue(tmp_path, task("qqp"))
    assert (similar["train"].sentence2, similar["train"].label) == (["A jet."], ["4.2"])
    assert (duplicate["dev"].sentence1, duplicate["dev"].label) == (["Why?"], ["0"])
    assert (duplicate["test"].sentence1, duplicate["test"].sentence2) == (["Who?"], ["What?"])
    assert similar["test"].label is None


def test_colas_first_line_is_a_row_in_train_and_a_header_in_test(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        tsv(
            tmp_path / "CoLA" / f"{split}.tsv",
            ["gj04", "1", "", "He left."],
            ["x", "0", "*", "Her"],
        )
    tsv(tmp_path / "CoLA" / "test.tsv", ["index", "sentence"], ["0", "Bill left."])
    tables = read_glue(tmp_path, task("cola"))
    assert (tables["train"].sentence1, tables["train"].label) == (["He left.", "Her"], ["1", "0"])
    assert tables["train"].numbers == [1, 2]
    assert tables["test"].sentence1 == ["Bill left."]


@pytest.mark.parametrize("name", ["SST-2", "sst-2", "sst2", "SST2"])
def test_a_folder_is_found_in_any_case_and_in_the_hubs_spelling(tmp_path: Path, name: str) -> None:
    for split in ("train", "dev"):
        tsv(tmp_path / name / f"{split}.tsv", ["sentence", "label"], ["fine ", "1"])
    tables = read_glue(tmp_path, task("sst2"))
    assert list(tables) == ["train", "dev"]
    assert tables["train"].label == ["1"]


def test_a_missing_folder_says_what_is_there_and_what_mends_it(tmp_path: Path) -> None:
    (tmp_path / "glue_data").mkdir()
    found = refusal(tmp_path, "rte")
    assert "looked for RTE, got glue_data;" in found
    assert "make glue GLUE_DIR=" in found
    assert "-S sources.tasks=" in found
    assert "got no such folder" in refusal(tmp_path / "nowhere", "rte")


def test_a_folder_without_the_right_files_says_which(tmp_path: Path) -> None:
    tsv(tmp_path / "MNLI" / "train.tsv", ["sentence1"], ["x"])
    tsv(tmp_path / "MNLI" / "dev.tsv", ["sentence1"], ["x"])
    found = refusal(tmp_path, "mnli")
    assert "looked for dev_matched.tsv, dev_mismatched.tsv, got dev.tsv, train.tsv;" in found


def test_two_folders_for_one_task_are_refused_unless_one_is_spelt_as_asked(tmp_path: Path) -> None:
    for name in ("rte", "Rte"):
        (tmp_path / name).mkdir()
    assert "several folders for RTE, got Rte, rte" in refusal(tmp_path, "rte")
    for split in ("train", "dev"):
        row = ["0", "a", "b", "entailment"]
        tsv(tmp_path / "RTE" / f"{split}.tsv", ["index", "sentence1", "sentence2", "label"], row)
    assert read_glue(tmp_path, task("rte"))["train"].sentence1 == ["a"]


def test_a_diagnostic_folder_without_its_file_is_refused(tmp_path: Path) -> None:
    mnli(tmp_path / "MNLI")
    (tmp_path / "AX").mkdir()
    assert "looked for diagnostic.tsv" in refusal(tmp_path, "mnli")


def test_the_hub_names_mnlis_splits_and_columns_its_own_way() -> None:
    hub, columns = hub_glue("MNLI", "nyu-mll/glue")
    assert hub.splits["dev_mm"] == "validation_mismatched"
    assert (columns.sentence1, columns.sentence2) == ("premise", "hypothesis")
    assert hub_glue("SST-2", "x")[0].splits["dev"] == "validation"


@pytest.mark.skipif(not GLUE.is_dir(), reason="needs GLUE's files")
@pytest.mark.parametrize(
    ("name", "split", "rows"),
    # Counted with `wc -l`, less the header. With CSV quoting RTE's test set loses 15 rows.
    [
        ("rte", "test", 3000),
        ("mrpc", "train", 3668),
        ("qnli", "train", 9999),
        ("cola", "dev", 1043),
    ],
)
def test_no_row_of_the_official_files_is_lost(name: str, split: str, rows: int) -> None:
    table = read_glue(GLUE, task(name))[split]
    assert (len(table.numbers), table.malformed) == (rows, {})
