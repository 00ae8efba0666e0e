"""What a module imports, directly or not, found in its source (AST), functions' own imports included."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("segline", "stages", "benchmarks")


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name; packages are left out: their `__init__` is empty (tested)."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths if path.stem != "__init__"}


@cache
def imports(source: str) -> frozenset[str]:
    """The dotted names that a source imports: for `from a import b` both a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def own_imports(module: str, known: dict[str, Path]) -> set[str]:
    """The modules of this project that `module` imports itself."""
    return set(imports(known[module].read_text(encoding="utf-8")) & known.keys())


def third_party(module: str, known: dict[str, Path]) -> set[str]:
    """The top-level names from outside that `module` imports itself."""
    return {name.split(".")[0] for name in imports(known[module].read_text(encoding="utf-8"))} - set(PACKAGES)


def closure(module: str, known: dict[str, Path], exempt: frozenset[str] = frozenset()) -> set[str]:
    """`module` and everything it imports, directly or not, without what only an exempt module imports."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in exempt:
            found.add(name)
            waiting += own_imports(name, known)
    return found
