"""The tree of a checked rule, and the texts that are printed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Name(NamedTuple):
    """The value of a column ``lag`` bars ago."""

    name: str
    lag: int


class Number(NamedTuple):
    """A constant."""

    value: float


class Apply(NamedTuple):
    """An operator or function applied to numbers."""

    op: str  # + - * / ** neg abs sqrt log exp min max
    args: tuple["Value", ...]


class Compare(NamedTuple):
    """A comparison of two numbers; false where either is unknown."""

    op: str  # < <= > >= ==
    left: "Value"
    right: "Value"


class Logic(NamedTuple):
    """Both (``&``) or either (``|``) of two conditions."""

    op: str
    left: "Condition"
    right: "Condition"


class Cross(NamedTuple):
    """Two columns or constants, of which the first comes to lie above the second, or below it."""

    sides: tuple[Name | Number, Name | Number]
    over: bool
    is_all: bool  # the condition says nothing else


Value = Name | Number | Apply
Condition = Compare | Logic


@dataclass(frozen=True)
class Rule:
    """A checked rule.

    Attributes
    ----------
    root
        Its tree: a condition or a value.
    """

    root: Value | Condition

    @property
    def is_condition(self) -> bool:
        """Whether it is true or false rather than a number."""
        return isinstance(self.root, Compare | Logic)

    @cached_property
    def inputs(self) -> tuple[Name, ...]:
        """The distinct names with their lags, sorted."""
        return tuple(sorted(_names(self.root)))

    @cached_property
    def program(self) -> str:
        """The text for numexpr, in which ``x0`` is the first of ``inputs``."""
        return _print(self.root, {name: f"x{i}" for i, name in enumerate(self.inputs)})

    @cached_property
    def text(self) -> str:
        """The rule written out, with ``name[3]`` for a value three bars ago."""
        return _print(self.root, {name: f"{name.name}[{name.lag}]" if name.lag else name.name for name in self.inputs})

    @cached_property
    def cross(self) -> "Cross | None":
        """The cross of columns or constants that it cannot be true without; None if it has none."""
        return _cross(self.root)

    @cached_property
    def required(self) -> frozenset[Name]:
        """The inputs without which it cannot be true, or has no value."""
        return _required(self.root)


def _children(node: Value | Condition) -> tuple[Value | Condition, ...]:
    match node:
        case Apply(args=args):
            return args
        case Compare(left=left, right=right) | Logic(left=left, right=right):
            return (left, right)
    return ()


def _names(node: Value | Condition) -> set[Name]:
    return {node} if isinstance(node, Name) else set().union(*map(_names, _children(node)))


def size(node: Value | Condition) -> int:
    """How many nodes a tree has."""
    return 1 + sum(map(size, _children(node)))


def _required(node: Value | Condition) -> frozenset[Name]:
    if isinstance(node, Logic):
        left, right = _required(node.left), _required(node.right)
        return left | right if node.op == "&" else left & right
    return frozenset(_names(node))


def _cross(root: Value | Condition) -> Cross | None:
    if not isinstance(root, Logic) or root.op != "&":
        return None
    now, before = root.left, root.right
    if isinstance(now, Compare) and isinstance(before, Compare) and (now.op, before.op) in ((">", "<="), ("<", ">=")):
        left, right = now.left, now.right
        if isinstance(left, Name | Number) and isinstance(right, Name | Number) and before[1:] == (_later(left), _later(right)):
            return Cross((left, right), now.op == ">", True)
    found = _cross(now) or _cross(before)
    return found and found._replace(is_all=False)


def _later(side: Name | Number) -> Name | Number:
    return Name(side.name, side.lag + 1) if isinstance(side, Name) else side


def _print(node: Value | Condition, names: Mapping[Name, str]) -> str:
    match node:
        case Name():
            return names[node]
        case Number(value=value):
            return f"({value!r})"
        case Apply(op="neg", args=(value,)):
            return f"(-{_print(value, names)})"
        case Apply(op="min" | "max" as op, args=(left, right)):
            return f"{op}imum({_print(left, names)}, {_print(right, names)})"
        case Apply(op=op, args=args) if op.isalpha():
            return f"{op}({', '.join(_print(arg, names) for arg in args)})"
        case Apply(op=op, args=(left, right)) | Compare(op=op, left=left, right=right) | Logic(op=op, left=left, right=right):
            return f"({_print(left, names)} {op} {_print(right, names)})"
    raise AssertionError(node)
