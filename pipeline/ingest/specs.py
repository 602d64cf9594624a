"""What is known of each instrument: inferred from its data, overridden by the source's ``instruments.json`` and by the caller."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.instrument import KINDS, Decimals, Instrument
from pipeline.config_account import wrong_value
from pipeline.ingest.refusal import refusal

MAX_DECIMALS = 10
FIELDS = tuple(field.name for field in fields(Instrument) if field.name != "symbol")
DECIMALS = ("tick", "lot", "multiplier")
NUMBERS = ("min_qty", "min_notional")
FLAGS = ("shortable", "sessions")
AS_IN_A_CONFIG = {
    "rules": '[{"from": "2024-01-01", "tick": "0.1"}]',
    "borrow": '[{"from": "2024-01-01", "rate": 0.05}]',
    "settlement": '"16:00"',
    "expiry": '"2024-03-15T16:00:00Z"',
}


class Grid:
    """The coarsest power of ten that all values lie on."""

    def __init__(self) -> None:
        self.decimals = 0

    def add(self, values: NDArray[np.float64]) -> None:
        """Take values in; NaN is passed over."""
        values = values[~np.isnan(values)]
        while self.decimals <= MAX_DECIMALS:
            power = 10.0**self.decimals
            values = values[np.rint(values * power) / power != values]
            if not len(values):
                return
            self.decimals += 1

    @property
    def found(self) -> bool:
        """Whether there is such a grid."""
        return self.decimals <= MAX_DECIMALS

    def __str__(self) -> str:
        decimals = min(self.decimals, 8)
        return f"{1 / 10**decimals:.{decimals}f}"


def infer(kind: str, tick: Grid, lot: Grid, sessions: bool) -> dict[str, Any]:
    """An instrument as its data show it."""
    return {"kind": kind, "tick": str(tick), "lot": str(lot), "multiplier": "1", "min_qty": 0.0, "min_notional": 0.0, "sessions": sessions}


def read_overrides(root: Path) -> dict[str, dict[str, Any]]:
    """``instruments.json`` of a source folder; empty without one."""
    path = root / "instruments.json"
    if not root.is_dir() or not path.exists():
        return {}
    try:
        given = json.loads(path.read_bytes())
    except ValueError as error:
        raise refusal(path.name, f"not JSON ({error})", "correct or remove the file") from None
    if not isinstance(given, dict) or not all(isinstance(spec, dict) for spec in given.values()):
        raise refusal(path.name, "an object of objects is meant", 'write {"BTCUSDT": {"tick": "0.1"}}')
    return given


def override(file: str, specs: Mapping[str, dict[str, Any]], given: Mapping[str, Mapping[str, Any]]) -> None:
    """Put given fields over inferred ones, in place.

    Raises
    ------
    DatasetError
        An unknown symbol or field, or a value that a field cannot have.
    """
    for symbol, spec in sorted(given.items(), key=lambda item: item[0] != "default"):
        if symbol != "default" and symbol not in specs:
            raise refusal(file, f"unknown symbol '{symbol}'{nearest(symbol, specs)}", "remove it or correct its name")
        for name, value in spec.items():
            checked = _checked(file, symbol, name, value)
            for target in specs.values() if symbol == "default" else (specs[symbol],):
                target[name] = checked


def _checked(file: str, symbol: str, name: str, value: Any) -> Any:
    if name not in FIELDS:
        raise refusal(file, f"unknown field '{name}' of {symbol}{nearest(name, FIELDS)}", f"known are {', '.join(FIELDS)}")
    if (name == "kind" and value in KINDS) or (name in FLAGS and isinstance(value, bool)):
        return value
    if name in NUMBERS and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if name == "quote" and isinstance(value, str) and value:
        return value
    if name in AS_IN_A_CONFIG:
        return _as_in_a_config(file, symbol, name, value)
    if name in DECIMALS and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            Decimals.parse(value)
        except (ValueError, ArithmeticError):
            pass
        else:
            return str(value)
    allowed = (
        {"quote": "the name of a currency", "kind": f"one of {', '.join(KINDS)}"}
        | dict.fromkeys(FLAGS, "true or false")
        | dict.fromkeys(NUMBERS, "a number, zero or more")
    )
    raise refusal(file, f"{name} of {symbol} is {allowed.get(name, 'a positive decimal')}", "correct the value", value=repr(value))


def _as_in_a_config(file: str, symbol: str, name: str, value: Any) -> Any:
    """A value as it is, if a config could hold it."""
    wrong = wrong_value(name, value)
    if wrong:
        raise refusal(file, f"{wrong}, of {symbol}", f"write {AS_IN_A_CONFIG[name]}")
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
