"""Tell from its first bytes that a file is not the text that it is taken for."""

import re

BYTES_TO_JUDGE = 4096
WRONG_FILES = [  # first bytes, what they are of, what to do
    (rb"version https://git-lfs", "a pointer of Git LFS", "run `git lfs pull`"),
    (rb"(?i)\s*<(!doctype|html|head|\?xml)", "a web page", "download the file that it links to"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16", "convert it: `iconv -f UTF-16 -t UTF-8`"),
    (rb"PK\x03\x04|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "a packed file", "unpack it"),
    (rb"(?s).{257}ustar", "a tar archive", "unpack it"),
    (rb"%PDF-|\{\\rtf|\xd0\xcf\x11\xe0", "an office document", "save it as plain text"),
    (rb"PAR1|\x89HDF|ARROW1|SQLite format", "a table or database", "write its text to a .txt file"),
]


def describe_wrong_file(head: bytes) -> tuple[str, str] | None:
    """Return what a file is, and what to do; None where it may be text."""
    for pattern, what, cure in WRONG_FILES:
        if re.match(pattern, head):
            return what, cure
    return None
