"""Scripts that are written without spaces between words, so that only a dictionary parts words.

Source: classes SA and ID of Unicode Standard Annex 14, line breaking, but for Hangul and for signs
such as emoji, beside which words are told by spaces.
"""

import re
import unicodedata
from functools import lru_cache

# Blocks of Unicode 16, scripts of East Asia in the second half.
UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"  # Thai to Bali
    "\ua980-\ua9ff\uaa60-\uaa7f\uaa80-\uaadf\U00011700-\U0001174f"
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U000323af"
)
CHARACTER = re.compile(f"[{UNSPACED}]")
CHARACTERS_A_WORD = 3  # Chinese has two, Japanese two to three, Thai four to five


def is_unspaced(character: str) -> bool:
    """Say whether a character is of a script without spaces."""
    return CHARACTER.match(character) is not None


def count_unspaced(text: str) -> int:
    """Count the characters of scripts without spaces."""
    return 0 if text.isascii() else len(CHARACTER.findall(text))


@lru_cache(maxsize=1 << 16)
def script_of(word: str) -> str:
    """Name the script of a word's first letter as Unicode's names do: LATIN; empty without one."""
    letters = (unicodedata.name(character, "") for character in word if character.isalpha())
    return next(letters, "").split(" ")[0]
