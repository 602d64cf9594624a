"""The operator tree of a Polars expression: read, digested, and widened to many symbols at once."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

GAP_AWARE = frozenset({"IsNan", "IsNotNan", "FillNull", "FillNullWithStrategy", "Coalesce"})
"""Operators by which an expression deals with unknown inputs itself, so that it is given the gaps."""


WIDENS = frozenset(
    {
        "Column",
        "Literal",
        "BinaryExpr",
        "Ternary",
        "Cast",
        "RollingExpr",
        "Shift",
        "Diff",
        "PctChange",
        "EwmMean",
        "EwmStd",
        "EwmVar",
        "Abs",
    }
    | {
        "Negate",
        "Clip",
        "Log",
        "Exp",
        "PowSqrt",
        "CumSum",
        "CumCount",
        "CumMin",
        "CumMax",
        "IsNull",
        "IsNotNull",
        "IsNan",
        "IsNotNan",
        "Not",
    }
)
"""Operators that Polars expands column by column.  Others, such as a horizontal maximum, would take the columns of all symbols at once."""


class Operator(NamedTuple):
    """One node: its name, what it was told, and the trees it is applied to."""

    name: str
    options: Any
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Feature:
    """One column to compute.

    Attributes
    ----------
    expr
        The expression, over columns of one symbol.
    tree
        Its serialised operators.
    digest
        SHA-256 of the tree: equal computations have equal digests.
    columns
        Names of the columns it reads, sorted.
    lookback
        Rows before the first known value, given data without gaps.
    gap_aware
        Whether it handles unknown inputs itself (``fill_nan``, ``forward_fill``, ...).
    """

    expr: pl.Expr
    tree: Any
    digest: str
    columns: tuple[str, ...]
    lookback: int
    gap_aware: bool

    @cached_property
    def mean_window(self) -> int:
        """Rows of the window of a plain rolling mean of a column; 0 of any other expression."""
        node = operator(self.tree)
        if node.name != "RollingExpr" or operator(node.inputs[0]).name != "Column":
            return 0
        options = node.options["options"]
        window = int(options["window_size"])
        plain = {"window_size": window, "min_periods": window, "weights": None, "center": False, "fn_params": None}
        return window if node.options["function"] == "Mean" and options == plain and window > 1 else 0


def read(expr: pl.Expr) -> Feature:
    """Read the operators of an expression, outer names left aside."""
    tree = _without_aliases(json.loads(expr.meta.serialize(format="json")))
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    nodes = list(walk(tree))
    columns = tuple(sorted({node.options for node in nodes if node.name == "Column"}))
    aware = any(node.name in GAP_AWARE for node in nodes)
    return Feature(expr, tree, hashlib.sha256(text.encode()).hexdigest(), columns, lookback(tree), aware)


def operator(tree: Any) -> Operator:
    """The outermost operator of a tree."""
    if not isinstance(tree, dict) or len(tree) != 1:
        return Operator(str(tree), None, ())
    ((kind, body),) = tree.items()
    match kind:
        case "Column" | "Literal":
            return Operator(kind, body, ())
        case "Alias":
            return Operator(kind, body[1], (body[0],))
        case "BinaryExpr":
            return Operator(kind, body["op"], (body["left"], body["right"]))
        case "Cast":
            return Operator(kind, body["dtype"], (body["expr"],))
        case "Ternary":
            return Operator(kind, None, (body["predicate"], body["truthy"], body["falsy"]))
        case "Function":
            return _function(body)
        case "Agg":
            return Operator(next(iter(body)) if isinstance(body, dict) else str(body), None, ())
        case _:
            return Operator(kind, body, ())


def _function(body: dict[str, Any]) -> Operator:
    function, inputs = body["function"], tuple(body["input"])
    if isinstance(function, str):
        return Operator(function, None, inputs)
    ((name, options),) = function.items()
    if name in ("Boolean", "Pow", "Trigonometry"):  # families: the member is the operator
        member = options if isinstance(options, str) else next(iter(options))
        return Operator(member if name != "Pow" else f"Pow{member}", options, inputs)
    return Operator(name, options, inputs)


def walk(tree: Any) -> Iterator[Operator]:
    """Every operator of a tree, outermost first."""
    pending = [tree]
    while pending:
        node = operator(pending.pop())
        yield node
        pending.extend(node.inputs)


def lookback(tree: Any) -> int:
    """Rows before the first known value, from the windows and shifts on the longest way to a column."""
    node = operator(tree)
    before = max((lookback(child) for child in node.inputs), default=0)
    match node.name:
        case "Ternary" if operator(node.inputs[0]).name == "IsNotNull" and not _is_null(node.inputs[2]):
            return lookback(node.inputs[2])  # the other branch holds until the asked one is known
        case "RollingExpr":
            return before + max(int(node.options["options"]["min_periods"]) - 1, 0)
        case "EwmMean" | "EwmStd" | "EwmVar":
            return before + max(int(node.options["options"]["min_periods"]) - 1, 0)
        case "Shift" | "ShiftAndFill" | "Diff" | "PctChange":
            return before + max(integer(node.inputs[1]) or 0, 0)
        case _:
            return before


def _is_null(tree: Any) -> bool:
    node = operator(tree)
    return node.name == "Literal" and "Null" in str(node.options)


def integer(tree: Any) -> int | None:
    """The value of a literal whole number; None for anything else."""
    node = operator(tree)
    if node.name != "Literal" or not isinstance(node.options, dict):
        return None
    (value,) = node.options.values()
    if isinstance(value, dict):
        (value,) = value.values()
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def widen(feature: Feature, keys: Sequence[str]) -> pl.Expr | None:
    """The same computation on the columns ``name|key`` of every key at once; None where the expression cannot be expanded so."""
    if not all(map(_widens, walk(feature.tree))) or _first_leaf(feature.tree).name != "Column":
        return None
    tree = _substitute(feature.tree, keys)
    try:
        wide = pl.Expr.deserialize(io.BytesIO(json.dumps(tree).encode()), format="json")
    except pl.exceptions.PolarsError:  # a constant that JSON cannot carry, such as NaN
        return None
    # Polars reads some decimals one unit in the last place off: such an expression would give other bits than the narrow one
    return wide if json.loads(wide.meta.serialize(format="json")) == tree else None


def _widens(node: Operator) -> bool:
    others = node.inputs[1:] if node.name not in ("BinaryExpr", "Ternary") else ()
    return node.name in WIDENS and all(operator(tree).name == "Literal" for tree in others)


def _first_leaf(tree: Any) -> Operator:
    """The leaf that a result is named after; a literal would name the results of all keys alike."""
    node = operator(tree)
    while node.inputs:
        node = operator(node.inputs[1] if node.name == "Ternary" else node.inputs[0])
    return node


def _substitute(tree: Any, keys: Sequence[str]) -> Any:
    if isinstance(tree, list):
        return [_substitute(item, keys) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {"Column"}:
        return {"Selector": {"ByName": {"names": [f"{tree['Column']}|{key}" for key in keys], "strict": True}}}
    return {name: _substitute(item, keys) for name, item in tree.items()}


def _without_aliases(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_aliases(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) == {"Alias"}:
        return _without_aliases(tree["Alias"][0])
    return {name: _without_aliases(item) for name, item in tree.items()}
