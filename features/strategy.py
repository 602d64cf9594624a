"""The strategy contract: what a strategy says, in YAML or in a Python file, and the checked plan made of it.

A strategy names features and says by rules when it would enter and leave; it never sees an account, and it is given no data: it
hands over expressions and rules, which pass the gate and are computed for it. In a Python file it is a class::

    class Breakout:
        def __init__(self, n: int = 55): ...
        def features(self): return {"top": donchian(n)["upper"], "vol": {"atr": {"n": 14}}}
        def propose(self): return {"long": "close > lag(top, 1)", "exit_long": pl.col("close") < pl.col("close").rolling_min(20)}

``features`` maps names to Polars expressions, to dictionaries of them by part, or to calls as in YAML; ``propose`` has the keys of
YAML, its values rules or expressions. A part is addressed as ``name_part``: ``bb: {bollinger: {n: 20}}`` gives ``bb_upper``.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import polars as pl

from engine.schema import OPTIONAL_COLUMNS, Action, LevelKind, OrderType, TimeInForce
from features.catalogue import make
from features.causality import check
from features.columns import COLUMNS
from features.rule_tree import Rule
from features.rules import RuleError, check_name, nearest, parse
from features.strategy_file import StrategyError, load
from features.tree import Feature, read

CONDITIONS = {
    "long": Action.ENTER_LONG,
    "short": Action.ENTER_SHORT,
    "exit": Action.EXIT,
    "exit_long": Action.EXIT_LONG,
    "exit_short": Action.EXIT_SHORT,
    "target": Action.TARGET,
}
"""Rules that are true or false, in the order in which they propose at one close."""

PRICES = ("limit_price", "stop_price")
LEVELS = ("stop_loss", "take_profit", "trailing", "break_even")
TRIGGERS = ("level", "edge")
SIZING = tuple(OPTIONAL_COLUMNS)
KEYS = (*CONDITIONS, "score", *PRICES, "tif", *LEVELS, "max_bars", *SIZING, "trigger")
LATER = ("tags",)
"""Keys that a proposal will have, and has not yet."""

SIDE = "side"
"""In levels and order prices: +1 for a long entry, -1 for a short one (a target of a negative weight), so that ``close - side * 2 * atr`` serves both."""


@dataclass(frozen=True)
class StrategySpec:
    """What a strategy is made from: features and rules, or a Python file and its parameters.

    Attributes
    ----------
    id
        Name in the ledger.
    features
        ``features[name]`` is a call such as ``{"ema": {"of": "close", "n": 20}}``.
    propose
        Rules by key (``KEYS``).
    file
        Path of a Python file with one strategy class; then ``features`` and ``propose`` are its own.
    params
        Keyword arguments of that class.
    """

    id: str
    features: Mapping[str, Any] = field(default_factory=dict)
    propose: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """A stop, a target, a trailing or break-even distance: a rule, as a price (or distance) or as a fraction of the fill price."""

    rule: Rule
    kind: LevelKind


@dataclass(frozen=True)
class Order:
    """How entries are to be filled: at market, or by a limit, a stop or both, and for how long.                 # R2.1

    Attributes
    ----------
    prices
        ``limit_price`` and ``stop_price``, where given; which of them are given makes the type.
    tif, tif_value
        Time in force; for ``BARS`` their number, for ``GTD`` microseconds from the close of the proposal.
    """

    prices: Mapping[str, Rule] = field(default_factory=dict)
    tif: TimeInForce = TimeInForce.GTC
    tif_value: int = 0

    @property
    def type(self) -> OrderType:
        """Limit, stop, stop-limit, or market where no price is given."""
        return _TYPES[frozenset(self.prices)]


_TYPES = {
    frozenset[str](): OrderType.MARKET,
    frozenset(["limit_price"]): OrderType.LIMIT,
    frozenset(["stop_price"]): OrderType.STOP,
    frozenset(PRICES): OrderType.STOP_LIMIT,
}


@dataclass(frozen=True)
class Plan:
    """A checked strategy: only the features its rules use, and the rules.

    Attributes
    ----------
    id
        Name in the ledger.
    features
        Columns to compute, by name; bar columns that rules read directly are not among them.
    conditions
        Rules by action, in the order of ``CONDITIONS``.
    score
        Rank of an entry; None: 0.
    order
        How entries are to be filled.
    levels
        Stop, target, trailing and break-even distance, by name.
    max_bars
        Bars an entry may be held; None: without end.
    sizing
        What sizes and legs are made from, by column (``engine.schema.OPTIONAL_COLUMNS``).
    edge
        Whether a rule proposes only where it becomes true.                                                 # R4.5
    digest
        SHA-256 of all of it, its id left aside.
    """

    id: str
    features: Mapping[str, Feature]
    conditions: Mapping[Action, Rule]
    score: Rule | None
    order: Order
    levels: Mapping[str, Level]
    max_bars: Rule | None
    sizing: Mapping[str, Rule]
    edge: bool
    digest: str

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns and features that the rules use, sorted."""
        rules = _all(self.conditions, self.score, self.order, self.levels, self.max_bars, self.sizing)
        return tuple(sorted({name.name for rule in rules for name in rule.inputs} - {SIDE}))

    @cached_property
    def entry_rules(self) -> Mapping[str, Rule]:
        """What an entry says in numbers, by column."""
        rules = {"score": self.score, "max_bars": self.max_bars} | dict(self.order.prices) | dict(self.sizing)
        rules |= {name: level.rule for name, level in self.levels.items()}
        return {name: rule for name, rule in rules.items() if rule is not None}

    @cached_property
    def says_more(self) -> bool:
        """Whether entries say anything beyond that they are made."""
        return bool(self.entry_rules) or self.order != Order()


def plan(spec: StrategySpec) -> Plan:
    """Check a strategy and make it ready to compute.

    Raises
    ------
    StrategyError
        If it cannot be loaded or a key is wrong.
    RuleError
        If a feature call or a rule is not allowed.
    CausalityError
        If an expression may look ahead.
    """
    where = f"strategy {spec.id!r}"
    features, rules = spec.features, spec.propose
    if spec.file is not None:
        if spec.features or spec.propose:
            raise StrategyError(f"{where}: it has a file, so features and propose belong into that file")
        features, rules = load(spec.file, spec.params, where)
    elif spec.params:
        raise StrategyError(f"{where}: params are for a strategy with a file; write the values into the features")
    elif (text := _plain_text([features, rules])) is not None:
        return _plan_of_text(spec.id, text)
    return _Builder(where, features, rules).plan(spec.id)


def _plain_text(values: Any) -> str | None:
    """Values as a config has them, written down; None of any other."""
    try:
        text = json.dumps(values)
    except (TypeError, ValueError):
        return None
    return text if json.loads(text) == values else None


@lru_cache(maxsize=256)
def _plan_of_text(name: str, text: str) -> Plan:
    """The plan of a strategy of plain values, which many runs share."""
    return _Builder(f"strategy {name!r}", *json.loads(text)).plan(name)


class _Builder:
    """Turns the two mappings of a strategy into a plan."""

    def __init__(self, where: str, features: Any, rules: Any) -> None:
        if not isinstance(features, Mapping) or not isinstance(rules, Mapping):
            raise StrategyError(f"{where}: features and propose are mappings of names; found {features!r:.60} and {rules!r:.60}")
        self.where, self.calls, self.rules = where, features, rules
        self.columns: dict[str, pl.Expr] = {}
        self.making: list[str] = []
        self.done: set[str] = set()

    def plan(self, name: str) -> Plan:
        for key in self.rules:
            self.check_key(key)
        if not any(key in self.rules for key in ("long", "short", "target")):
            raise StrategyError(f"{self.where}: propose has neither long nor short nor target, so it would never trade")
        self.check_target()
        for feature in self.calls:
            self.feature(feature)
        conditions = {action: self.rule(key, condition=True) for key, action in CONDITIONS.items() if key in self.rules}
        score = self.rule("score") if "score" in self.rules else None
        order = self.order()
        levels = {key: self.level(key) for key in LEVELS if key in self.rules}
        max_bars = self.max_bars()
        sizing = {key: self.rule(key) for key in SIZING if key in self.rules}
        edge = self.rules.get("trigger", "level") == "edge"
        used = {n.name for rule in _all(conditions, score, order, levels, max_bars, sizing) for n in rule.inputs} & set(self.columns)
        checked = {feature: self.checked(feature) for feature in sorted(self.columns)}
        features = {feature: checked[feature] for feature in sorted(used)}
        digest = _digest(features, conditions, score, order, levels, max_bars, sizing, edge)
        return Plan(name, features, conditions, score, order, levels, max_bars, sizing, edge, digest)

    def check_key(self, key: Any) -> None:
        if key in LATER:
            raise StrategyError(f"{self.where}: propose.{key} is not supported yet: remove it")
        if key not in KEYS:
            raise StrategyError(f"{self.where}: propose has no key {key!r}; {nearest(str(key), KEYS)}")
        if key == "trigger" and self.rules[key] not in TRIGGERS:
            raise StrategyError(f"{self.where}: propose.trigger is {' or '.join(TRIGGERS)}, not {self.rules[key]!r}")

    def check_target(self) -> None:
        if "target" not in self.rules:
            return
        if "weight" not in self.rules:
            raise StrategyError(f"{self.where}: propose.target needs propose.weight, the signed fraction of budget x equity to hold")
        for key in (*PRICES, "tif"):
            if key in self.rules:
                raise StrategyError(f"{self.where}: propose.{key} does not go with propose.target, whose orders are at market")

    def feature(self, name: str) -> None:
        if name in self.done:
            return
        where = f"{self.where}, features.{name}"
        if name in self.making:
            raise RuleError(f"{where} is made from itself: {' -> '.join([*self.making, name])}")
        check_name(name, where)
        self.making.append(name)
        call = self.calls[name]
        made = call if isinstance(call, pl.Expr) else self.made(call, where)
        self.making.pop()
        self.done.add(name)
        for part, expr in made.items() if isinstance(made, dict) else [("", made)]:
            self.add(f"{name}_{part}" if part else name, expr, where)

    def made(self, call: Any, where: str) -> pl.Expr | dict[str, pl.Expr]:
        if isinstance(call, Mapping) and call and all(isinstance(part, pl.Expr) for part in call.values()):
            return dict(call)
        return make(call, where, self.resolve)

    def add(self, name: str, expr: pl.Expr, where: str) -> None:
        check_name(name, where)
        if name in COLUMNS or name == SIDE:
            raise RuleError(f"{where}: {name!r} is a column already; choose another name")
        if name in self.columns:
            raise RuleError(f"{where}: two features are called {name!r}; rename one")
        self.columns[name] = expr

    def resolve(self, name: str, where: str) -> pl.Expr:
        if name in COLUMNS:
            return pl.col(name)
        if name not in self.columns:
            owner = name if name in self.calls else name.rpartition("_")[0]
            if owner in self.calls:
                self.feature(owner)
        if name not in self.columns:
            raise RuleError(f"{where}: {name!r} is neither a column nor a feature; {nearest(name, [*COLUMNS, *self.calls])}")
        return self.columns[name]

    def checked(self, name: str) -> Feature:
        where = f"{self.where}, features.{name}"
        feature = read(self.columns[name])
        check(feature, where)
        for column in feature.columns:
            if column not in COLUMNS:
                raise RuleError(f"{where}: {column!r} is not a column; {nearest(column, COLUMNS)}")
        return feature

    def rule(self, key: str, value: Any = None, *, condition: bool = False) -> Rule:
        text = self.rules[key] if value is None else value
        where = f"{self.where}, propose.{key}"
        names = {*COLUMNS, *self.columns}
        if isinstance(text, pl.Expr):
            name = f"propose_{key}"
            self.add(name, text.cast(pl.Float64), where)
            return parse(f"{name} > 0" if condition else name, {*names, name}, where, condition=condition)
        return parse(text, names | {SIDE} if key in (*LEVELS, *PRICES) else names, where, condition=condition)

    def level(self, key: str) -> Level:
        value, kind = self.rules[key], LevelKind.PRICE
        where = f"{self.where}, propose.{key}"
        if isinstance(value, Mapping):
            if set(value) != {"fraction"}:
                raise StrategyError(f"{where}: a level is a rule or {{fraction: ...}}, not {dict(value)!r}")
            value, kind = value["fraction"], LevelKind.FRACTION
        if isinstance(value, int | float) and not isinstance(value, bool) and not (value > 0 and (value < 1 or kind == LevelKind.PRICE)):
            raise StrategyError(f"{where}: {value!r} is not a {'fraction between 0 and 1' if kind else 'price'}")
        return Level(self.rule(key, value), kind)

    def order(self) -> Order:
        prices = {key: self.rule(key) for key in PRICES if key in self.rules}
        tif, value = self.time_in_force()
        return Order(prices, tif, value)

    def time_in_force(self) -> tuple[TimeInForce, int]:
        """Read ``gtc``, ``ioc``, ``{bars: 3}`` or ``{for: 8h}``."""
        said = self.rules.get("tif", "gtc")
        match said:
            case "gtc":
                return TimeInForce.GTC, 0
            case "ioc":
                return TimeInForce.IOC, 0
            case {"bars": int() as bars, **others} if not others and not isinstance(bars, bool) and 1 <= bars < 2**31:
                return TimeInForce.BARS, bars
            case {"for": str() as text, **others} if not others and (found := _DURATION.fullmatch(text)):
                return TimeInForce.GTD, int(found[1]) * _UNITS_US[found[2]]
        raise StrategyError(f"{self.where}: propose.tif is gtc, ioc, {{bars: 3}} or {{for: 8h}} (s, m, h or d), not {said!r}")

    def max_bars(self) -> Rule | None:
        if "max_bars" not in self.rules:
            return None
        value = self.rules["max_bars"]
        if isinstance(value, float) or (isinstance(value, int) and (isinstance(value, bool) or value < 1)):
            raise StrategyError(f"{self.where}: propose.max_bars is a whole number of bars from 1, or a rule, not {value!r}")
        return self.rule("max_bars")


_DURATION = re.compile(r"([1-9]\d{0,8})(s|m|h|d)")
_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def _all(
    conditions: Mapping[Action, Rule],
    score: Rule | None,
    order: Order,
    levels: Mapping[str, Level],
    max_bars: Rule | None,
    sizing: Mapping[str, Rule],
) -> list[Rule]:
    others = [rule for rule in (score, max_bars) if rule is not None]
    return [*conditions.values(), *order.prices.values(), *(level.rule for level in levels.values()), *others, *sizing.values()]


def _digest(
    features: Mapping[str, Feature],
    conditions: Mapping[Action, Rule],
    score: Rule | None,
    order: Order,
    levels: Mapping[str, Level],
    max_bars: Rule | None,
    sizing: Mapping[str, Rule],
    edge: bool,
) -> str:
    content: dict[str, Any] = {
        "features": {name: feature.digest for name, feature in features.items()},
        "conditions": {action.name: rule.text for action, rule in conditions.items()},
        "score": score and score.text,
        "order": [{name: rule.text for name, rule in order.prices.items()}, order.tif.name, order.tif_value],
        "levels": {name: [level.rule.text, level.kind.name] for name, level in levels.items()},
        "max_bars": max_bars and max_bars.text,
        "edge": edge,
    }
    if sizing:
        content["sizing"] = {name: rule.text for name, rule in sizing.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
