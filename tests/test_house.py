"""What must hold of the sources themselves."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "features", "pipeline")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEXTS = sorted(
    path
    for folder in (*PACKAGES, "tests", "configs", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in {".py", ".yaml", ".md", ".toml", ".txt", ""} and "__pycache__" not in path.parts
) + [ROOT / name for name in ("README.md", "CHANGELOG.md", "pyproject.toml", "constraints.txt") if (ROOT / name).exists()]
THIRD_PARTY_OF_ENGINE = {"llvmlite", "numba", "numpy", "pyarrow"}
LIGHT = ("numba", "numpy", "polars", "pyarrow", "pydantic", "rich", "typer")


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[-2] == "engine"], ids=_named)
def test_the_engine_imports_nothing_else(path: Path) -> None:
    top = {name.split(".")[0] for name in _imports(path)} - {"engine", "__future__"}
    assert top - sys.stdlib_module_names <= THIRD_PARTY_OF_ENGINE


VOCABULARY = {"engine.arrays", "engine.dataset", "engine.schema"}
COMPILED_FEATURES = {"crossings", "proposals", "rolling_mean"}
COMPILATION = {"engine.block", "engine.kernel", "engine.lanes"}


def test_features_know_the_vocabulary_the_dataset_and_how_code_is_compiled_alone() -> None:
    for path in SOURCES:
        if "features" in path.relative_to(ROOT).parts[:1]:
            allowed = VOCABULARY | (COMPILATION if path.stem in COMPILED_FEATURES else set())
            assert {name for name in _imports(path) if name.split(".")[0] == "engine"} <= allowed, path


def test_numba_is_configured_in_one_place() -> None:
    words = re.compile(r"\bn?jit\(|@n?jit\b|\bfastmath\b|\bparallel=True|\bCACHE_DIR\b|\bDISABLE_JIT\b")
    assert [_named(path) for path in SOURCES if words.search(path.read_text())] == ["engine/kernel.py"]


def test_stage_two_calls_no_function_that_differs_between_machines() -> None:  # R6.3
    words = re.compile(r"\b(?:np|math)\.(?:exp|log|log2|log10|log1p|expm1|power|pow|sin|cos|tan|fma)\b")
    assert not [_named(path) for path in SOURCES if path.parts[-2] == "engine" and words.search(path.read_text())]


def test_nothing_is_unpickled_or_evaluated_from_text() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert not called & {"eval", "exec", "compile", "__import__"}, path
        assert not _imports(path) & {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}, path


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    names = {part for path in SOURCES for part in (*path.relative_to(ROOT).parts[1:-1], path.stem)}
    assert not names & {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}


def test_nothing_is_left_to_do_and_no_machine_is_named() -> None:
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b", "/" + "work/", "/" + "root/", r"\bissue #?\d")))
    assert not [f"{_named(path)}: {found[0]}" for path in TEXTS if (found := words.search(path.read_text()))]


def test_constraints_are_versions_without_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.+]+( ; [a-z_]+ .+)?", line), line
        assert "//" not in line and "@" not in line, line


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_carries_its_types(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


def test_importing_the_pipeline_loads_nothing_heavy() -> None:
    code = f"import sys, pipeline; print(*[name for name in {LIGHT!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_every_module_says_what_it_owns() -> None:
    silent = [_named(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_the_loop_stays_short() -> None:
    lines = (ROOT / "engine" / "replay.py").read_text().splitlines()
    assert len(lines) < 200, f"engine/replay.py has {len(lines)} lines: a business rule belongs into a file of its own"
