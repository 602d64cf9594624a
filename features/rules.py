"""Rules: text to a checked tree, and the tree to the text that numexpr runs.

1. ``parse`` reads the text with ``ast`` and keeps an allow-list of nodes; anything else is a ``RuleError`` at its place.
2. ``lag``, ``cross_up`` and ``cross_down`` become names with a lag; ``not`` is pushed down to the comparisons, so a comparison with
   an unknown value (NaN) is false however it is negated.
3. ``Rule.program`` prints our own tree, every name replaced by ``x0``, ``x1``, ...; no character of the user's reaches numexpr.

So a rule is element-wise over named columns and their past: it cannot look ahead, call, index or hang.
"""

import ast
import keyword
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from features.rule_tree import Apply, Compare, Condition, Logic, Name, Number, Rule, Value, size

MAX_LENGTH = 1_000  # characters
MAX_DEPTH = 32
MAX_NODES = 400  # after lags and crosses are written out
MAX_INPUTS = 28  # distinct (name, lag); numexpr takes 31 operands
MAX_CONSTANT = 1e15
MAX_LAG = 10_000
MAX_POWER = 10
SMALLEST_DIVISOR = 1e-300  # numexpr multiplies by the inverse of a constant, which must be finite

FUNCTIONS = {"abs": 1, "sqrt": 1, "log": 1, "exp": 1, "min": 2, "max": 2, "lag": 2, "cross_up": 2, "cross_down": 2}
"""Functions a rule may use, with their number of arguments."""

_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_CONSTANT: Mapping[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "abs": abs, "sqrt": math.sqrt, "log": math.log, "exp": math.exp, "min": min, "max": max,
}  # fmt: skip
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_STRANGE = re.compile(r"[^A-Za-z0-9_ \t\n.,+\-*/()<>=!&|~]")


class RuleError(ValueError):
    """A rule that is not allowed; the message names the rule, the place in it and the mend."""


def parse(text: str | float, names: Collection[str], where: str, *, condition: bool) -> Rule:
    """Read a rule.

    Parameters
    ----------
    text
        The rule, or a number.
    names
        Columns and features it may use.
    where
        What it is, for messages: ``strategy 'trend', propose.long``.
    condition
        Whether it must be true or false (else it must be a number).

    Raises
    ------
    RuleError
        At the first thing that is not allowed.
    """
    source = repr(text) if isinstance(text, int | float) and not isinstance(text, bool) else text
    if not isinstance(source, str):
        raise RuleError(f"{where}: {text!r} is not a rule; write text such as 'cross_up(fast, slow)'")
    return _Reader(source, names, where).rule(condition)


class _Reader:
    def __init__(self, text: str, names: Collection[str], where: str) -> None:
        self.text, self.names, self.where = " ".join(text.split()), names, where

    def rule(self, condition: bool) -> Rule:
        body = self.tree()
        root = self.condition(body, 0, False, 0) if condition else self.value(body, 0, 0)
        rule = Rule(root)
        if (parts := size(root)) > MAX_NODES:
            self.fail(body, f"the rule has {parts} parts written out; {MAX_NODES} are allowed: split it into features")
        if len(rule.inputs) > MAX_INPUTS:
            self.fail(body, f"the rule uses {len(rule.inputs)} values; {MAX_INPUTS} are allowed: split it into features")
        return rule

    def tree(self) -> ast.expr:
        if not self.text:
            raise RuleError(f"{self.where}: the rule is empty; leave the key out, or write text such as 'cross_up(fast, slow)'")
        if len(self.text) > MAX_LENGTH:
            raise RuleError(f"{self.where}: the rule has {len(self.text)} characters; {MAX_LENGTH} are allowed")
        if strange := _STRANGE.search(self.text):
            self.refuse(strange.start(), f"{strange.group()!r} is not allowed in a rule")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a doubtful token such as '1or' is refused, not guessed
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            self.refuse((error.offset or 1) - 1, f"not a rule: {error.msg}")
        except Warning as warning:
            self.refuse(0, f"not a rule: {warning}")
        except (ValueError, MemoryError, RecursionError):
            self.refuse(0, "the rule is nested too deeply")

    def refuse(self, offset: int, message: str) -> NoReturn:
        raise RuleError(f"{self.where}: {self.text!r} at character {offset + 1}: {message}")

    def fail(self, node: ast.expr, message: str) -> NoReturn:
        self.refuse(node.col_offset, message)

    def condition(self, node: ast.expr, lag: int, negate: bool, depth: int) -> Condition:
        self.check_depth(node, depth)
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.comparison(node, op, self.value(left, lag, depth + 1), self.value(right, lag, depth + 1), negate)
            case ast.Compare():
                hint = "write 'a < b and b < c'; with & and |, put every comparison in brackets"
                self.fail(node, f"comparisons cannot be chained: {hint}")
            case ast.BoolOp(op=op, values=values):
                parts = [self.condition(value, lag, negate, depth + 1) for value in values]
                return _joined("&" if isinstance(op, ast.And) is not negate else "|", parts)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr(), left=left, right=right):
                sides = [self.condition(side, lag, negate, depth + 1) for side in (left, right)]
                return _joined("&" if isinstance(node.op, ast.BitAnd) is not negate else "|", sides)
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return self.condition(operand, lag, not negate, depth + 1)
            case ast.Call(func=ast.Name(id="cross_up" | "cross_down" as name)):
                return self.cross(node, name, lag, negate, depth)
            case ast.Call(func=ast.Name(id="lag")):
                inner, bars = self.lagged(node)
                return self.condition(inner, lag + bars, negate, depth + 1)
            case _:
                self.value(node, lag, depth)  # what is wrong inside comes first
                self.fail(node, "a condition is needed here, not a number: compare it, such as 'score > 0'")

    def comparison(self, node: ast.expr, op: ast.cmpop, left: Value, right: Value, negate: bool) -> Condition:
        self.refuse_constants(node, left, right)
        sign = _COMPARE.get(type(op))
        if sign is None:
            self.fail(node, f"'{type(op).__name__}' is not a comparison of numbers; use < <= > >= == !=")
        if sign in ("==", "!="):
            if (sign == "==") is not negate:
                return Compare("==", left, right)
            return Logic("|", Compare("<", left, right), Compare(">", left, right))
        return Compare(_NEGATED[sign] if negate else sign, left, right)

    def refuse_constants(self, node: ast.expr, left: Value, right: Value) -> None:
        if isinstance(left, Number) and isinstance(right, Number):
            self.fail(node, "two constants are compared, so it is always or never true; name a column on one side")

    def cross(self, node: ast.Call, name: str, lag: int, negate: bool, depth: int) -> Condition:
        left, right = self.arguments(node)
        now = [self.value(side, lag, depth + 1) for side in (left, right)]
        before = [self.value(side, lag + 1, depth + 1) for side in (left, right)]
        self.refuse_constants(node, *now)
        after, ahead = (">", "<=") if name == "cross_up" else ("<", ">=")
        if negate:
            return Logic("|", Compare(_NEGATED[after], *now), Compare(_NEGATED[ahead], *before))
        return Logic("&", Compare(after, *now), Compare(ahead, *before))

    def value(self, node: ast.expr, lag: int, depth: int) -> Value:
        self.check_depth(node, depth)
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return self.number(node, number)
            case ast.Name(id=name):
                return self.name(node, name, lag)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _negative(self.value(operand, lag, depth + 1))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.value(operand, lag, depth + 1)
            case ast.BinOp(op=ast.Pow(), left=left, right=right):
                return self.apply(node, "**", self.value(left, lag, depth + 1), self.power(right))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return self.apply(node, _ARITHMETIC[type(op)], self.value(left, lag, depth + 1), self.value(right, lag, depth + 1))
            case ast.Call(func=ast.Name(id=name)):
                return self.call(node, name, lag, depth)
            case _:
                self.fail(node, self.objection(node))

    def call(self, node: ast.Call, name: str, lag: int, depth: int) -> Value:
        if name not in FUNCTIONS:
            self.fail(node, f"{name!r} is not a function; {nearest(name, FUNCTIONS)}")
        if name.startswith("cross"):
            self.fail(node, f"{name} is a condition; a number is needed here")
        if name == "lag":
            inner, bars = self.lagged(node)
            return self.value(inner, lag + bars, depth + 1)
        return self.apply(node, name, *(self.value(argument, lag, depth + 1) for argument in self.arguments(node)))

    def apply(self, node: ast.expr, op: str, *args: Value) -> Value:
        """An operator applied; of constants alone, the constant it gives, so that numexpr has none to work out."""
        if op == "/" and isinstance(args[1], Number) and not abs(args[1].value) > SMALLEST_DIVISOR:
            self.fail(node, "division by zero")
        constants = [arg.value for arg in args if isinstance(arg, Number)]
        if len(constants) < len(args):
            return Apply(op, args)
        try:
            found = float(_CONSTANT[op](*constants))
        except (ArithmeticError, ValueError, TypeError):
            found = math.nan
        if not math.isfinite(found):
            self.fail(node, "these constants give no finite number")
        return Number(found)

    def arguments(self, node: ast.Call) -> list[ast.expr]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if node.keywords or len(node.args) != FUNCTIONS[name]:
            self.fail(node, f"{name} takes {FUNCTIONS[name]} argument(s), without keywords")
        return node.args

    def lagged(self, node: ast.Call) -> tuple[ast.expr, int]:
        inner, bars = self.arguments(node)
        if not isinstance(bars, ast.Constant) or type(bars.value) is not int or not 0 <= bars.value <= MAX_LAG:
            self.fail(bars, f"the bars of a lag are a whole number from 0 to {MAX_LAG}")
        return inner, bars.value

    def number(self, node: ast.expr, number: float) -> Number:
        if not abs(number) <= MAX_CONSTANT:
            self.fail(node, f"constants are at most {MAX_CONSTANT:g} in size")
        return Number(float(number))

    def power(self, node: ast.expr) -> Number:
        sign, inner = (-1, node.operand) if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else (1, node)
        value = inner.value if isinstance(inner, ast.Constant) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_POWER:
            self.fail(node, f"an exponent is a constant of at most {MAX_POWER} in size, and not 0")
        return Number(float(sign * value))

    def name(self, node: ast.expr, name: str, lag: int) -> Name:
        if name not in self.names:
            known = f"{name} is a function: write {name}(...)" if name in FUNCTIONS else nearest(name, self.names)
            self.fail(node, f"unknown name {name!r}; {known}")
        if lag > MAX_LAG:
            self.fail(node, f"lags add up to {lag} bars; {MAX_LAG} are allowed")
        return Name(name, lag)

    def check_depth(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.fail(node, f"the rule is nested deeper than {MAX_DEPTH}")

    def objection(self, node: ast.expr) -> str:
        match node:
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not() | ast.Invert()):
                return "a number is needed here, not a condition; put comparisons beside '&' and '|' in brackets"
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                return "a number is needed here, not a condition; put comparisons beside '&' and '|' in brackets"
            case ast.BinOp(op=op):
                return f"'{type(op).__name__}' is not an operator of rules; use + - * / **"
            case ast.Attribute(attr=attr):
                return f"attributes ('.{attr}') are not allowed in a rule"
            case ast.Constant(value=bool()):
                return "True and False are not allowed; compare numbers"
            case ast.Constant():
                return "only numbers are constants in a rule"
            case ast.Call():
                return "only the functions " + ", ".join(FUNCTIONS) + " can be called"
            case _:
                return f"'{type(node).__name__}' is not allowed in a rule"


def nearest(name: str, known: Collection[str]) -> str:
    """Words that suggest what was meant.

    >>> nearest("fsat", ["fast", "slow"])
    "did you mean 'fast'? Known: fast, slow"
    """
    close = get_close_matches(name, sorted(known), n=1)
    return (f"did you mean {close[0]!r}? " if close else "") + "Known: " + ", ".join(sorted(known))


def check_name(name: str, where: str) -> None:
    """Refuse a feature name that a rule could not say.

    Raises
    ------
    RuleError
        If it is not a plain ASCII word, or means something already.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
        raise RuleError(f"{where}: {name!r} is not a name; use letters, digits and '_', a letter first, at most 64")
    if keyword.iskeyword(name) or name in FUNCTIONS:
        raise RuleError(f"{where}: {name!r} has a meaning in rules; choose another name")


def _joined(op: str, parts: list[Condition]) -> Condition:
    whole = parts[0]
    for part in parts[1:]:
        whole = Logic(op, whole, part)
    return whole


def _negative(value: Value) -> Value:
    return Number(-value.value) if isinstance(value, Number) else Apply("neg", (value,))
