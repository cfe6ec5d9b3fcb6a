"""Which characters are of scripts without spaces, by the names that Unicode gives them."""

import unicodedata

import pytest

from tinybert.deployment import service
from tinybert.text.scripts import CHARACTER, count_unspaced, is_unspaced, script_of

WITHOUT = ("CJK UNIFIED", "HIRAGANA LETTER", "KATAKANA LETTER", "HALFWIDTH KATAKANA LETTER")
WITHOUT += ("BOPOMOFO LETTER", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "JAVANESE LETTER")
WITH = ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "TAMIL")
WITH += ("HANGUL", "ETHIOPIC", "GEORGIAN", "ARMENIAN", "DIGIT", "FULLWIDTH LATIN", "MONGOLIAN")


@pytest.mark.parametrize(("names", "expected"), [(WITHOUT, True), (WITH, False)])
def test_each_character_of_a_script_is_taken_as_its_name_says(names, expected):
    found = [c for c in map(chr, range(0x110000)) if unicodedata.name(c, "").startswith(names)]
    assert len(found) > 5_000
    assert [c for c in found if is_unspaced(c) != expected] == []


def test_the_service_has_the_same_characters():
    assert service.UNSPACED.pattern == CHARACTER.pattern


def test_characters_are_counted_and_scripts_named():
    assert count_unspaced("ok, 你好 ไทย 한국") == 2 + 3
    words = ["cat", "\u0301e", "собака", "कुत्ता", "12", "한국", ""]
    assert [script_of(word) for word in words] == [
        "LATIN",
        "LATIN",
        "CYRILLIC",
        "DEVANAGARI",
        "",
        "HANGUL",
        "",
    ]
