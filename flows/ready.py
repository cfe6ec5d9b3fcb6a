"""Say what DVC would say in words of its own, before it does: no commit, no right name.

python -m flows.ready
"""

from pathlib import Path

from flows.request import require_known_names
from tinybert.core.errors import ends_with_its_lines
from tinybert.core.repository import require_commit


def main(root: Path) -> None:
    """Check a folder.

    Raises:
        InputError: DVC cannot make its graph there.
    """
    require_commit(root)
    require_known_names(root)


if __name__ == "__main__":
    with ends_with_its_lines():
        main(Path.cwd())
