"""The names by which a configuration asks for an expression: one explicit dictionary."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from features import expressions as x
from features.rules import RuleError, nearest

Made = pl.Expr | dict[str, pl.Expr]

FACTORIES: Mapping[str, Callable[..., Made]] = {
    "adx": x.adx,
    "atr": x.atr,
    "bollinger": x.bollinger,
    "corr": x.corr,
    "donchian": x.donchian,
    "ema": x.ema,
    "keltner": x.keltner,
    "lag": x.lag,
    "log_returns": x.log_returns,
    "macd": x.macd,
    "max": x.maximum,
    "median": x.median,
    "min": x.minimum,
    "quantile": x.quantile,
    "rank": x.rank,
    "realised_volatility": x.realised_volatility,
    "returns": x.returns,
    "roc": x.roc,
    "rsi": x.rsi,
    "skew": x.skew,
    "sma": x.sma,
    "std": x.std,
    "stochastic": x.stochastic,
    "true_range": x.true_range,
    "typical_price": x.typical_price,
    "vwap": x.vwap,
    "wilder": x.wilder,
    "wma": x.wma,
    "zscore": x.zscore,
}

COLUMN_ARGUMENTS = ("of", "other")
MAX_WINDOW = 100_000
_SMALLEST = {"adx": 2, "std": 2, "corr": 2, "skew": 2, "zscore": 2, "bollinger": 2, "realised_volatility": 2}


def smallest(name: str, key: str) -> int:
    """The smallest count that an argument of an expression may be.

    >>> smallest("sma", "n"), smallest("std", "n"), smallest("std", "ddof")
    (1, 2, 0)
    """
    return 0 if key == "ddof" else _SMALLEST.get(name, 1) if key == "n" else 1


def make(call: Any, where: str, resolve: Callable[[str, str], pl.Expr]) -> Made:
    """Make the expression of a call such as ``{ema: {of: close, n: 20}}``, ``{sma: 20}`` or ``true_range``.

    Parameters
    ----------
    resolve
        Turns the name of a column or another feature into its expression; told where, for messages.

    Raises
    ------
    RuleError
        Names the feature, the key and the nearest that exists.
    """
    name, given = _split(call, where)
    factory = FACTORIES.get(name)
    if factory is None:
        raise RuleError(f"{where}: no expression is called {name!r}; {nearest(name, FACTORIES)}")
    known = inspect.signature(factory).parameters
    arguments = {"n": given} if isinstance(given, int | float) and not isinstance(given, bool) and "n" in known else given
    if not isinstance(arguments, Mapping):
        raise RuleError(f"{where}: the arguments of {name} are a mapping such as {{n: 20}}, not {given!r}")
    for key in arguments:
        if key not in known:
            raise RuleError(f"{where}: {name} has no argument {key!r}; {nearest(str(key), known) if known else 'it takes none'}")
    return factory(**{key: _argument(name, key, value, known[key], where, resolve) for key, value in arguments.items()})


def _split(call: Any, where: str) -> tuple[str, Any]:
    if isinstance(call, str):
        return call, {}
    if not isinstance(call, Mapping) or len(call) != 1:
        raise RuleError(
            f"{where}: {call!r} is not a feature; write one expression with its arguments, such as {{ema: {{of: close, n: 20}}}}"
        )
    ((name, given),) = call.items()
    return str(name), {} if given is None else given


def _argument(name: str, key: str, value: Any, known: inspect.Parameter, where: str, resolve: Callable[[str, str], pl.Expr]) -> Any:
    if key in COLUMN_ARGUMENTS:
        if not isinstance(value, str):
            raise RuleError(f"{where}: {name}.{key} is the name of a column or feature, not {value!r}")
        return resolve(value, f"{where}: {name}.{key}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RuleError(f"{where}: {name}.{key} is a number, not {value!r}")
    if known.annotation is int:
        least = smallest(name, key)
        if not isinstance(value, int) or not least <= value <= MAX_WINDOW:
            raise RuleError(f"{where}: {name}.{key} is a whole number from {least} to {MAX_WINDOW}, not {value!r}")
        return value
    top = 1.0 if key == "q" else 1e9
    if not 0 <= value <= top:
        raise RuleError(f"{where}: {name}.{key} is a number from 0 to {top:g}, not {value!r}")
    return float(value)
