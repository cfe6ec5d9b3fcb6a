"""Right findings share a line, doubts have one each, wrong ones are refused or told."""

import pytest

from tinybert.doctor.findings import MODE, as_findings, doubt, report, right, wrong
from tinybert.runtime.errors import InputError

FOUND = [right("12 heads"), doubt("3% cut off"), wrong("a: bad, got 1; write 2"), right("fits")]


def test_wrong_findings_are_refused_after_the_others_are_printed(capsys, monkeypatch):
    monkeypatch.delenv(MODE, raising=False)
    with pytest.raises(InputError) as caught:
        report("stage x", FOUND)
    assert caught.value.problems == ("a: bad, got 1; write 2",)
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["stage x: 12 heads; fits", "stage x: doubt: 3% cut off"]


def test_when_told_to_warn_it_prints_and_goes_on(capsys, monkeypatch):
    monkeypatch.setenv(MODE, "warn")
    report("stage x", FOUND)
    assert "WRONG, gone on with: a: bad" in capsys.readouterr().out


def test_another_mode_is_refused(monkeypatch):
    monkeypatch.setenv(MODE, "maybe")
    with pytest.raises(InputError, match="got 'maybe'; write one of refuse, warn, off"):
        report("stage x", [])


def test_the_second_of_two_processes_prints_nothing(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    report("stage x", FOUND[:2])
    assert capsys.readouterr().out == ""


def test_what_a_check_refuses_is_a_wrong_finding():
    @as_findings
    def check():
        raise InputError("one", "two")

    assert check() == [wrong("one"), wrong("two")]
