"""The library's folders stand on each other in one order, which CONTRIBUTING shows."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.fixtures.imports import direct_imports
from tests.fixtures.workspace import ROOT

# From bottom to top, as CONTRIBUTING's table has them.
ORDER = re.findall(
    r"^\| `tinybert/(\w+)/` \|",
    (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
FOLDERS = sorted(path.parent.name for path in (ROOT / "tinybert").glob("*/__init__.py"))


def modules(folder: str) -> list[Path]:
    return [file.relative_to(ROOT) for file in sorted((ROOT / "tinybert" / folder).rglob("*.py"))]


def test_every_folder_stands_in_the_table_and_no_module_outside_of_them():
    assert sorted(ORDER) == FOLDERS
    assert [path.name for path in (ROOT / "tinybert").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_those_below_it(folder):
    below = {"__init__.py", *ORDER[: ORDER.index(folder) + 1]}
    for file in modules(folder):
        for imported in direct_imports(file, ROOT):
            assert imported.parts[1] in below, f"{file} imports {imported}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        file: [other for other in direct_imports(file, ROOT) if other.name != "__init__.py"]
        for folder in FOLDERS
        for file in modules(folder)
    }
    TopologicalSorter(graph).prepare()  # raises where there is a circle


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_says_what_lives_there(folder):
    text = (ROOT / "tinybert" / folder / "__init__.py").read_text(encoding="utf-8")
    assert text.startswith('"""') and len(text) > 60
