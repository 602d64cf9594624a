"""Mutation testing of the rules: a small change of the kernel's sources must make an example fail, or a random market part from the oracle.

    NUMBA_DISABLE_JIT=1 python -m tests.mutation exits fees          # files of engine/; none: all that hold rules
    NUMBA_DISABLE_JIT=1 python -m tests.mutation exits --seeds 400
    NUMBA_DISABLE_JIT=1 python -m tests.mutation exits --again survivors.txt   # those that an earlier run printed, and no others

1. Every quick example test of ``tests/engine`` and every random market is run once, and the lines of the engine that each visits are kept.
2. A mutant is one changed operator, comparison, constant, sign, index or condition of one function; its code takes the function's place.
3. In a process of its own the mutant meets the examples, then the markets, that visit its line: killed by the first that fails, parts from
   the oracle, or does not come to an end.

Survivors are printed with file, line and change.  What no test can tell from the original is named in ``tests/equivalent.py``.
"""

import argparse
import ast
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from time import process_time
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest

import engine.session
from engine.kernel import compiles
from tests.differential import kernel_run, oracle_run, outcome_of
from tests.engine.test_models import OWN, own
from tests.equivalent import equivalence
from tests.markets import random_case

ENGINE = Path(engine.session.__file__).parent
TESTS = ENGINE.parent / "tests" / "engine"
EXAMPLES = [
    "actions",
    "carry_examples",
    "choosers",
    "coast",
    "conversion",
    "costs",
    "crowd",
    "cuts",
    "dated_rules",
    "entry_fills",
    "exit_models",
    "exit_options",
    "funding",
    "gate_exposure",
    "halts",
    "inside_bars",
    "instants",
    "interest",
    "inverse",
    "kernel_examples",
    "kernel_gate",
    "kernel_units",
    "liquidation_price",
    "maintenance",
    "margin",
    "margin_formulas",
    "models",
    "oracle_account",
    "order_terms",
    "orders",
    "prices",
    "proposal_table",
    "replaced_levels",
    "replay_clock",
    "reversals",
    "review_cases",
    "selection_examples",
    "settlement",
    "signals",
    "slots",
    "specs",
    "splits_of_what_waits",
    "tape",
    "target_bounds",
    "targets",
    "trailing",
]

RULES = [
    "exits",
    "fees",
    "money",
    "liquidation",
    "margin",
    "levels",
    "execution",
    "growth",
    "resting",
    "terms",
    "volume",
    "sizing",
    "risk",
    "selector",
    "halts",
    "funding",
    "actions",
    "splits",
    "life",
    "decisions",
    "bars",
    "portfolio",
    "orders",
    "prices",
    "proposals",
    "specs",
    "coast",
    "crowd",
    "interest",
    "settlement",
    "conversion",
    "targets",
    "choosers",
    "replay",
]

UNTOLD = ("prefetch", "fetch_ahead", "bring_near")
"""Functions that only make the replay faster."""

QUICK = 2.0  # seconds, while its lines are kept, of a trial that is worth running again and again
LONGEST = 3.0  # seconds after which a mutant is taken to go round for ever
ENOUGH = 0.95  # share of the mutants that must be killed

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
EXTREMES = {"min": "max", "max": "min"}

Line = tuple[str, int]


class Mutant(NamedTuple):
    """One change, and the function's code with it."""

    file: str
    function: str
    lines: range  # of its statement
    change: str
    code: CodeType


def changes(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare():
            for place, op in enumerate(node.ops):
                if type(op) in COMPARISONS:
                    ops = [*node.ops[:place], COMPARISONS[type(op)](), *node.ops[place + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            yield node.operand
        case ast.Call(func=ast.Name(id=name)) if name in EXTREMES:
            yield ast.Call(ast.Name(EXTREMES[name], ast.Load()), node.args, node.keywords)
        case ast.Subscript() if not isinstance(node.slice, ast.Constant | ast.Slice):
            yield ast.Subscript(node.value, ast.BinOp(node.slice, ast.Add(), ast.Constant(1)), node.ctx)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(type(value)(0) if value == 1 else value + 1)
        case _:
            yield from _negated(node, function)


def _negated(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The other answer of a condition, where no comparison of ``changes`` gives it already."""
    match node:
        case ast.If() | ast.While() if not _is_equality(node.test):
            yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.IfExp() if not _is_equality(node.test):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Return(value=ast.expr() as value) if _says(function) == "bool" and not _is_equality(value):
            yield ast.Return(ast.UnaryOp(ast.Not(), value))


def _is_equality(node: ast.expr) -> bool:
    """Whether the negation of a condition is its other comparison."""
    return isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.NotEq)


def _says(function: ast.FunctionDef) -> str:
    return ast.unparse(function.returns) if function.returns is not None else ""


class _Put(ast.NodeTransformer):
    """Puts a node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(file: str) -> Iterator[Mutant]:
    """All mutants of the functions of a file of the engine."""
    path = ENGINE / f"{file}.py"
    tree = ast.parse(path.read_text())
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name not in UNTOLD:
            for statement, around, node in _places(function):
                for new in list(changes(node, function)):
                    ast.copy_location(new, node)
                    shown = around if isinstance(node, ast.Constant) else None  # a number says nothing by itself
                    before = _first_line(shown or node)
                    _Put(node, new).visit(function)
                    change = f"{before} -> {_first_line(shown or new)}"
                    code = _code_of(compile(ast.fix_missing_locations(tree), str(path), "exec"), function.name)
                    _Put(new, node).visit(function)
                    yield Mutant(file, function.name, statement, change, code)


def _places(function: ast.FunctionDef) -> list[tuple[range, ast.AST | None, ast.AST]]:
    """The nodes of a function, but its docstring and constant indices: lines of the statement or condition, the node around, the node."""
    found: list[tuple[range, ast.AST | None, ast.AST]] = []
    for top in function.body:
        if isinstance(top, ast.Expr) and isinstance(top.value, ast.Constant):
            continue
        spans: dict[int, range] = {}
        around: dict[int, ast.AST] = {}
        rows = {id(one.slice) for one in ast.walk(top) if isinstance(one, ast.Subscript)}
        for node in ast.walk(top):
            span = spans.get(id(node), range(top.lineno, top.lineno + 1))
            if isinstance(node, ast.stmt):
                head = getattr(node, "test", getattr(node, "iter", node))
                span = range(node.lineno, (head.end_lineno or node.lineno) + 1)
            for child in ast.iter_child_nodes(node):
                spans[id(child)], around[id(child)] = span, node
            if not (id(node) in rows and isinstance(node, ast.Constant)):
                found.append((span, around.get(id(node)), node))
    return found


def _first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


def _code_of(module: CodeType, name: str) -> CodeType:
    return next(one for one in module.co_consts if isinstance(one, CodeType) and one.co_name == name)


class Trial(NamedTuple):
    """Something that a mutant must pass."""

    passes: Callable[[], bool]
    seconds: float
    lines: frozenset[Line]


def traced(passes: Callable[[], bool], files: frozenset[str]) -> Trial | None:
    """A trial, and the lines of these files that it visits; None if it is slow or fails by itself."""
    lines: set[Line] = set()

    def visit(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename in files:
            lines.add((frame.f_code.co_filename, frame.f_lineno))
            return visit
        return None

    begun = process_time()
    sys.settrace(visit)
    passed = passes()
    sys.settrace(None)
    seconds = process_time() - begun
    return Trial(passes, seconds, frozenset(lines)) if passed and seconds < QUICK else None


class Bench:
    """A plugin of pytest that, in the place of running its tests, tries the mutants on them."""

    def __init__(self, files: list[str], seeds: int, most: int | None, again: set[str] | None) -> None:
        self.files, self.seeds, self.most, self.again = files, seeds, most, again
        self.failed = False
        self.counts: dict[str, list[int]] = {}  # file: mutants, killed, equivalent
        self.survivors: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed = self.failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        trials = self.trials(session.items)
        for file in self.files:
            self.try_file(file, trials)
            print(f"{file}.py: {self.counts[file]}", file=sys.stderr, flush=True)
        return True

    def trials(self, items: list[Any]) -> list[Trial]:
        """Examples and markets in turn, each kind from the quickest on."""
        files = frozenset(str(ENGINE / f"{file}.py") for file in self.files)
        examples = [traced(partial(self.runs, item), files) for item in items if not _is_random(item)]
        markets = [traced(_market(seed), files) for seed in range(self.seeds)]
        kinds = [sorted((one for one in kind if one is not None), key=lambda one: one.seconds) for kind in (examples, markets)]
        return [one for both in zip_longest(*kinds) for one in both if one is not None]

    def runs(self, item: Any) -> bool:
        """Whether a test passes."""
        self.failed = False
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def try_file(self, file: str, trials: list[Trial]) -> None:
        counts = self.counts[file] = [0, 0, 0]
        path = str(ENGINE / f"{file}.py")
        for mutant in mutants(file):
            if self.again is not None and _said(mutant) not in self.again:
                continue
            counts[0] += 1
            if equivalence(mutant.file, mutant.function, mutant.change):
                counts[2] += 1
                continue
            visiting = [trial for trial in trials if any((path, line) in trial.lines for line in mutant.lines)][: self.most]
            if dies(mutant, visiting):
                counts[1] += 1
            else:
                said = f"{file}.py:{mutant.lines.start} {mutant.function}: {mutant.change}"
                self.survivors.append(said)
                print(f"{said}  ({len(visiting)} trials)", file=sys.stderr, flush=True)


def _said(mutant: Mutant) -> str:
    """A mutant without the number of its line, which edits elsewhere move."""
    return f"{mutant.file} {mutant.function}: {mutant.change}"


def _printed(line: str) -> str:
    """What ``_said`` says of a survivor, from the line that was printed of it.

    >>> _printed("fees.py:31 charged: fee > 0 -> fee >= 0  (12 trials)")
    'fees charged: fee > 0 -> fee >= 0'
    """
    place, _, said = line.strip().partition(" ")
    return f"{place.partition('.py:')[0]} {said.partition('  (')[0]}"


def _is_random(item: Any) -> bool:
    return hasattr(getattr(item, "obj", None), "hypothesis")


def _market(seed: int) -> Callable[[], bool]:
    """Whether the replay of a random market is the oracle's; every fourth with models of the user's own."""
    case = random_case(seed)
    models = (*((own(kind),) for kind in OWN), tuple(own(kind) for kind in OWN))[seed // 4 % (len(OWN) + 1)]
    if seed % 4 == 0:
        case = case._replace(settings=replace(case.settings, models=models, seed=seed))
    plain = outcome_of(oracle_run, case)
    return lambda: outcome_of(kernel_run, case) == plain


def dies(mutant: Mutant, trials: list[Trial]) -> bool:
    """Whether a mutant fails any of the trials, in a process of its own."""
    child = os.fork()
    if child == 0:
        survives = False
        try:
            survives = _survives(mutant, trials)
        finally:
            os._exit(0 if survives else 1)
    return os.waitpid(child, 0)[1] != 0


def _survives(mutant: Mutant, trials: list[Trial]) -> bool:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    function = getattr(sys.modules[f"engine.{mutant.file}"], mutant.function)
    assert isinstance(function, FunctionType)
    function.__code__ = mutant.code
    for trial in trials:
        signal.setitimer(signal.ITIMER_PROF, LONGEST)  # whose signal ends the process
        if not trial.passes():
            return False
    return True


def table(counts: dict[str, list[int]]) -> str:
    """The counts, as Markdown."""
    rows = ["| file | mutants | killed | equivalent | survive |", "| --- | ---: | ---: | ---: | ---: |"]
    for file, (made, killed, same) in counts.items():
        rows.append(f"| {file}.py | {made} | {killed} | {same} | {made - killed - same} |")
    made, killed, same = (sum(column) for column in zip(*counts.values(), strict=True))
    rows.append(f"| all | {made} | {killed} | {same} | {made - killed - same} |")
    return "\n".join(rows)


def main() -> int:
    """Try the mutants of some files; 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="*", default=RULES, help="of engine/, without .py")
    parser.add_argument("--seeds", type=int, default=200, help="random markets to try")
    parser.add_argument("--most", type=int, help="trials of one mutant; all if not given")
    parser.add_argument("--again", type=Path, help="what an earlier run printed: only its survivors are tried")
    options = parser.parse_args()
    if compiles():
        parser.error("set NUMBA_DISABLE_JIT=1: the code of compiled functions cannot be exchanged")
    again = {_printed(line) for line in options.again.read_text().splitlines()} if options.again else None
    bench = Bench([Path(file).stem for file in options.files], options.seeds, options.most, again)
    quiet = [
        "-o",
        "addopts=",
        "--doctest-modules",
        "--import-mode=importlib",
        "-s",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    tests = [str(TESTS / f"test_{name}.py") for name in EXAMPLES]
    pytest.main([*quiet, *tests, *(str(ENGINE / f"{file}.py") for file in bench.files)], plugins=[bench])
    print("\n".join([table(bench.counts), "", *bench.survivors]))
    made, killed, same = (sum(column) for column in zip(*bench.counts.values(), strict=True))
    return 0 if killed >= ENOUGH * (made - same) else 1


if __name__ == "__main__":
    sys.exit(main())
