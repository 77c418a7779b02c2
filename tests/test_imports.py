"""The house's order: a module imports stages of a lower number and the leaves, nothing higher."""

from __future__ import annotations

import ast
from pathlib import Path

import belajarid_recon

PACKAGE = Path(belajarid_recon.__file__).parent

ORDER = {
    "errors": 0,
    "jenjang": 0,
    "schemas": 0,
    "components": 0,
    "_core": 0,
    "secrets": 0.1,
    "settings": 0.1,
    "regulations": 0.2,
    "state": 0.3,
    "differences": 0.4,
    "sources": 1,
    "records": 2,
    "desired": 3,
    "directory": 4,
    "reconcile": 5,
    "naming": 5.1,
    "plan": 6,
    "apply": 7,
    "engines": 8,
    "partitions": 9,
    "pipeline": 9.1,
    "cli": 10,
    "__main__": 11,
    # Tools beside the road: no stage may import them, and they import leaves and each other only.
    "emulator": 0.5,
    "population": 0.5,
    "bench": 0.6,
}
"""ARCHITECTURE.md numbers the stages; leaves are below 1."""

TOOLS = {"emulator", "population", "bench"}
TOOL_USERS = TOOLS | {"cli"}


def imports_of(path: Path) -> set[str]:
    """First-level modules of this package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "belajarid_recon":
                names = [f"belajarid_recon.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("belajarid_recon.")}
    return found - {"__version__"}


def module_files() -> list[tuple[str, Path]]:
    """Every module with the name of its first level."""
    files = []
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if first != "__init__":
            files.append((first, path))
    return files


def test_every_module_has_a_place():
    """A new module is numbered before it is used."""
    assert {first for first, _ in module_files()} <= set(ORDER)


def test_imports_point_upstream():
    """No module imports a higher stage, and its own number only within itself."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {imported}"
        for first, path in module_files()
        for imported in imports_of(path)
        if imported != first and ORDER[imported] >= ORDER[first] and not (ORDER[imported] == ORDER[first] == 0)
    ]
    assert wrong == []


def test_only_the_command_line_starts_tools():
    """Emulator, population and benchmark are for demos and tests: no stage knows them."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {sorted(imports_of(path) & TOOLS)}"
        for first, path in module_files()
        if first not in TOOL_USERS and imports_of(path) & TOOLS
    ]
    assert wrong == []


def test_one_module_knows_the_host():
    """Google's host name stands in one file of the product."""
    holders = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if "googleapis.com" in path.read_text(encoding="utf-8") and path.parent.name != "emulator"
    ]
    assert holders == ["directory/transport.py"]
