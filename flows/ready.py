"""Say what DVC would say in words of its own, before it does: no commit, no right name.

python -m flows.ready
"""

import sys
from pathlib import Path

from flows.request import require_known_names
from tinybert.core.errors import InputError
from tinybert.core.repository import require_commit


def main(root: Path) -> None:
    """Check a folder.

    Raises:
        InputError: DVC cannot make its graph there.
    """
    require_commit(root)
    require_known_names(root)


if __name__ == "__main__":
    try:
        main(Path.cwd())
    except InputError as error:
        sys.exit(str(error))
