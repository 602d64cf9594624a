"""Rules: what is refused and where, and that what is accepted means what it says."""

import ast
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.evaluate import Column, Span, find_crossed, rows_where, values_at
from features.rules import MAX_LENGTH, RuleError, parse

NAMES = ("fast", "slow", "close")

REFUSED = [
    ("9**9**9 > 1", "character 4", "exponent"),
    ("fast ** slow > 1", "character 9", "exponent"),
    ("fast ** 1000 > 1", "character 9", "exponent"),
    ("fast ** 0 > 1", "character 9", "exponent"),
    ("close.real > 1", "character 1", "attributes"),
    ("__class__ > 1", "character 1", "unknown name '__class__'"),
    ("fsat > slow", "character 1", "did you mean 'fast'"),
    ("crossup(fast, slow)", "character 1", "did you mean 'cross_up'"),
    ("1 < fast < 2", "character 1", "chained"),
    ("fast > 1 & slow > 2", "character 1", "brackets"),
    ("fast[0] > 1", "character 5", "'['"),
    ("(lambda: 1) > 2", "character 8", "':'"),
    ("fast == 'a'", "character 9", '"\'"'),
    ("fast is slow", "character 1", "'Is' is not a comparison"),
    ("fast in (1, 2)", "character 9", "'Tuple' is not allowed"),
    ("(fast := 1) > 0", "character 7", "':'"),
    ("fast if slow else close", "character 1", "'IfExp' is not allowed"),
    ("fast", "character 1", "condition is needed"),
    ("fast + (slow > 1) > 0", "character 9", "number is needed"),
    ("(fast > 1) + 1 > 0", "character 2", "number is needed"),
    ("not fast", "character 5", "condition is needed"),
    ("True", "character 1", "True and False"),
    ("fast > 1e300", "character 8", "constants"),
    ("fast > " + "9" * 400, "character 8", "constants"),
    ("fast > 1j", "character 8", "only numbers"),
    ("fast > None", "character 8", "only numbers"),
    ("lag(fast, -1) > 0", "character 11", "whole number"),
    ("lag(fast, slow) > 0", "character 11", "whole number"),
    ("lag(fast, 99999) > 0", "character 11", "whole number"),
    ("lag(lag(fast, 9999), 9999) > 0", "character 9", "lags add up"),
    ("lag(fast) > 0", "character 1", "takes 2"),
    ("abs(fast, x=1) > 0", "character 1", "takes 1"),
    ("max(*fast) > 0", "character 1", "takes 2"),
    ("cross_up > 0", "character 1", "is a function"),
    ("cross_up(fast, slow) > 0", "character 1", "is a condition"),
    ("(fast)(slow) > 1", "character 1", "'fast' is not a function"),
    ("fast // 2 > 1", "character 1", "'FloorDiv' is not an operator"),
    ("fast / 0 > 1", "character 1", "division by zero"),
    ("fast / (1 - 1) > 1", "character 1", "division by zero"),
    ("fast / 1e-320 > 1", "character 1", "division by zero"),
    ("0 / 0 > fast", "character 1", "division by zero"),
    ("log(0 - 1) > fast", "character 1", "no finite number"),
    ("exp(1000) > fast", "character 1", "no finite number"),
    ("(1e15 ** 10) ** 10 > fast", "character 1", "no finite number"),
    ("(0 - 2) ** 0.5 > fast", "character 1", "no finite number"),
    ("fast % 2 > 1", "character 6", "'%'"),
    ("fast >", "character", "not a rule"),
    ("1or fast > 2", "character", "not a rule"),
    ("ｃlose > 1", "character 1", "'ｃ'"),
    ("close > 1\x00", "character", "is not allowed"),
    ("", "", "the rule is empty"),
    (" \n ", "", "the rule is empty"),
    ("(" * 300 + "fast" + ")" * 300 + " > 1", "character", ""),
    ("-" * 900 + "fast > 1", "character", "nested"),
    ("fast > 1 " + "and fast > 1 " * 100, "", "characters"),
]


@pytest.mark.parametrize(("text", "place", "reason"), REFUSED, ids=[text[:30] for text, _, _ in REFUSED])
def test_refused_rule_names_the_place_and_the_reason(text, place, reason):
    with pytest.raises(RuleError) as caught:
        parse(text, NAMES, "strategy 'trend', propose.long", condition=True)
    message = str(caught.value)
    assert message.startswith("strategy 'trend', propose.long")
    assert place in message and reason in message


def test_rule_with_too_many_parts_is_refused():
    deep = "fast > 0"
    for _ in range(40):
        deep = f"({deep}) & (slow > 1)"
    with pytest.raises(RuleError, match="nested deeper"):
        parse(deep, NAMES, "rule", condition=True)
    wide = " and ".join(f"lag(fast, {i}) > 1" for i in range(40))
    assert len(wide) < MAX_LENGTH
    with pytest.raises(RuleError, match="uses 40 values"):
        parse(wide, NAMES, "rule", condition=True)
    many = "+".join(["cross_up(fast,slow)"] * 3)
    with pytest.raises(RuleError, match="is a condition"):
        parse(many, NAMES, "rule", condition=True)


def test_a_value_is_not_a_condition_and_back():
    with pytest.raises(RuleError, match="a number is needed"):
        parse("fast > slow", NAMES, "propose.score", condition=False)
    with pytest.raises(RuleError, match="is not a rule"):
        parse(None, NAMES, "propose.score", condition=False)


def test_only_our_own_text_reaches_numexpr():
    rule = parse("cross_up(fast, slow) and not ((close - 1 >= lag(slow, 2)) | (close == 3))", NAMES, "rule", condition=True)
    assert set(rule.program) <= set("x0123456789.+-*/()<>=&| ")
    assert rule.text == "(((fast > slow) & (fast[1] <= slow[1])) & (((close - (1.0)) < slow[2]) & ((close < (3.0)) | (close > (3.0)))))"


def true_rows(text, columns, edge=False, start=0):
    rule = parse(text, tuple(columns), "rule", condition=True)
    n = len(next(iter(columns.values())))
    given = {name: Column(np.asarray(values, float), 0) for name, values in columns.items()}
    return rows_where(rule, span := Span(given, start, n), find_crossed([rule], [span])[0], edge=edge).tolist()


def test_cross_happens_where_the_order_changes():
    fast, slow = [1, 2, 2, 3, 1, 1, 2], [2, 2, 1, 2, 2, 0, 2]
    assert true_rows("cross_up(fast, slow)", {"fast": fast, "slow": slow}) == [2, 5]
    assert true_rows("cross_down(fast, slow)", {"fast": fast, "slow": slow}) == [4]
    assert true_rows("cross_up(fast, 1.5)", {"fast": fast, "slow": slow}) == [1, 6]


def test_comparison_with_an_unknown_value_is_false_however_it_is_negated():
    columns = {"a": [1, math.nan, 3], "b": [2, 2, 2]}
    assert true_rows("a > b", columns) == [2]
    assert true_rows("not (a > b)", columns) == [0]
    assert true_rows("a != b", columns) == [0, 2]
    assert true_rows("not (a == b)", columns) == [0, 2]
    assert true_rows("not cross_up(a, b)", columns) == [0]  # what came before cannot matter there; at row 2 it does
    assert true_rows("max(a, b) > 0", columns) == [0, 2]
    assert true_rows("b > 0 or a > 0", columns) == [0, 1, 2]


def test_edge_is_the_first_row_of_a_run():
    a = {"a": [0, 1, 1, 0, 1, 1]}
    assert true_rows("a > 0", a, edge=True) == [1, 4]
    assert true_rows("a > 0", a, edge=True, start=2) == [4]  # it was true already at row 1                   # R4.5


# a second reading of rules: Python's own eval of the same text on one row at a time, with lags looked up
texts = st.recursive(
    st.sampled_from(["a", "b", "c", "1.5", "lag(a, 1)", "lag(b, 3)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(["abs({})", "-{}", "lag({}, 2)", "{} ** 2"]), inner).map(lambda t: "(" + t[0].format(t[1]) + ")"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    ),
    max_leaves=5,
)
conditions = st.recursive(
    st.one_of(
        st.tuples(texts, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), texts).map(" ".join),
        st.tuples(st.sampled_from(["cross_up", "cross_down"]), texts, texts).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    ),
    lambda inner: st.one_of(
        inner.map(lambda text: f"(not {text})"),
        st.tuples(inner, st.sampled_from(["and", "or", "&", "|"]), inner).map(lambda t: f"(({t[0]}) {t[1]} ({t[2]}))"),
    ),
    max_leaves=4,
)


class Row:
    """Python's meaning of a rule at one row: three-valued, None where a value is unknown."""

    def __init__(self, columns, row):
        self.columns, self.row = columns, row

    def value(self, node, row):
        match node:
            case ast.Name(id=name):
                return self.columns[name][row] if row >= 0 else math.nan
            case ast.Constant(value=number):
                return float(number)
            case ast.UnaryOp(operand=operand):
                return -self.value(operand, row)
            case ast.BinOp(op=ast.Pow(), left=left):
                return self.value(left, row) * self.value(left, row)
            case ast.BinOp(left=left, op=op, right=right):
                a, b = np.float64(self.value(left, row)), np.float64(self.value(right, row))
                with np.errstate(all="ignore"):
                    return {"Add": a + b, "Sub": a - b, "Mult": a * b, "Div": a / b}[type(op).__name__]
            case ast.Call(func=ast.Name(id="lag"), args=[inner, ast.Constant(value=n)]):
                return self.value(inner, row - n)
            case ast.Call(func=ast.Name(id="abs"), args=[inner]):
                return abs(self.value(inner, row))
            case ast.Call(func=ast.Name(id=name), args=[left, right]):
                a, b = self.value(left, row), self.value(right, row)
                return math.nan if math.isnan(a) or math.isnan(b) else (min if name == "min" else max)(a, b)

    def compare(self, op, a, b):
        if math.isnan(a) or math.isnan(b):
            return None
        return {"Lt": a < b, "LtE": a <= b, "Gt": a > b, "GtE": a >= b, "Eq": a == b, "NotEq": a != b}[op]

    def truth(self, node):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.compare(type(op).__name__, self.value(left, self.row), self.value(right, self.row))
            case ast.UnaryOp(operand=operand):
                inner = self.truth(operand)
                return None if inner is None else not inner
            case ast.BoolOp(op=op, values=[left, right]) | ast.BinOp(op=op, left=left, right=right):
                sides = [self.truth(left), self.truth(right)]
                return self.both(sides) if type(op).__name__ in ("And", "BitAnd") else self.either(sides)
            case ast.Call(func=ast.Name(id=name), args=[left, right]):
                now = [self.value(side, self.row) for side in (left, right)]
                before = [self.value(side, self.row - 1) for side in (left, right)]
                signs = ("Gt", "LtE") if name == "cross_up" else ("Lt", "GtE")
                return self.both([self.compare(signs[0], *now), self.compare(signs[1], *before)])

    def both(self, sides):
        return False if False in sides else None if None in sides else True

    def either(self, sides):
        return True if True in sides else None if None in sides else False


@pytest.mark.parametrize("text", ["1 < 2", "a < b or 1.5 < 1.5", "cross_up(1, 2)", "not (2 > 1)"])
def test_a_comparison_of_two_constants_is_refused(text):
    with pytest.raises(RuleError, match="two constants"):
        parse(text, ("a", "b"), "rule", condition=True)


@given(conditions, st.integers(0, 2**31), st.integers(0, 12))
def test_rule_means_what_python_says_row_by_row(text, seed, start):
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(-2, 3, 30).astype(float) for name in "abc"}
    columns["c"][rng.random(30) < 0.3] = math.nan
    first = {"a": 0, "b": int(rng.integers(0, 9)), "c": 0}
    columns["b"][: first["b"]] = math.nan
    try:
        rule = parse(text, tuple("abc"), "rule", condition=True)
    except RuleError as error:
        assume("two constants" not in str(error))
        raise
    given_columns = {name: Column(values[first[name] :], first[name]) for name, values in columns.items()}
    got = rows_where(rule, span := Span(given_columns, start, 30), find_crossed([rule], [span])[0], edge=False).tolist()
    tree = ast.parse(text, mode="eval").body
    assert got == [row for row in range(start, 30) if Row(columns, row).truth(tree)]  # None: unknown


def test_values_are_given_at_rows_and_unknown_before_their_columns_begin():
    rule = parse("lag(a, 2) - side * b", ("a", "b", "side"), "rule", condition=False)
    given = {"a": Column(np.array([1.0, 2, 3, 4]), 1), "b": Column(np.array([10.0, 20, 30, 40, 50]), 0)}
    got = values_at(rule, given, np.array([2, 3, 4]), {"side": np.array([1.0, -1.0, 1.0])})
    assert math.isnan(got[0]) and got[1:].tolist() == [1 + 40, 2 - 50]
