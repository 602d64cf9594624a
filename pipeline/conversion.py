"""From a config to rates of conversion: which currency an instrument is quoted in, and what says what that is worth."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from engine.dataset import Dataset
from engine.instrument import KINDS, Instrument
from engine.schema import Accounting
from engine.settings import Conversion
from pipeline.config import RunConfig
from pipeline.errors import ConfigError


def foreign(config: RunConfig, symbol: str, values: Mapping[str, Any]) -> str:
    """Currency of an instrument's prices; empty where it is the account's.

    Raises
    ------
    ConfigError
        Of an inverse contract that says any but the account's.
    """
    quote, currency = str(values.get("quote", "")), config.account.currency
    if quote in ("", currency):
        return ""
    if KINDS[values.get("kind", "linear_perp")] == Accounting.INVERSE:
        raise ConfigError(
            f"instruments.{symbol}.quote = {quote!r}: the money of an inverse contract is its coin, account.currency, and is not converted; "
            "leave quote out"
        )
    return quote


def conversions_of(config: RunConfig, dataset: Dataset, instruments: Sequence[Instrument]) -> tuple[Conversion, ...]:
    """Sources of the rates that the instruments of a run need, by currency.

    Raises
    ------
    ConfigError
        If one is missing, its symbol has no bars, or no symbol needs it.
    """
    _require_use(config, dataset)
    given, currency, found = config.account.conversion or {}, config.account.currency, []
    for quote in sorted({one.quote for one in instruments} - {""}):
        if quote not in given:
            symbol = next(one.symbol for one in instruments if one.quote == quote)
            near = get_close_matches(quote, given, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f", such as account.conversion: {{{quote}: {{symbol: {quote}{currency}}}}}"
            raise ConfigError(
                f"account.conversion: {symbol} is quoted in {quote} and the account is in {currency}; name a symbol of the dataset whose price is "
                f"what {quote} is worth{hint}"
            )
        source = given[quote]
        if source.symbol not in dataset.symbols:
            near = get_close_matches(source.symbol, dataset.symbols, 1, 0.6)
            hint = f", did you mean {near[0]!r}?" if near else f"; it has {', '.join(dataset.symbols[:12])}"
            raise ConfigError(f"account.conversion.{quote}.symbol = {source.symbol!r}: has no bars in {config.dataset}{hint}")
        found.append(Conversion(quote, source.symbol, source.invert))
    return tuple(found)


def _require_use(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a rate for a currency that no symbol of the dataset is quoted in; ``symbols`` may leave out those that are."""
    quotes = {str(spec.get("quote", "")) for spec in dataset.instruments.values()}
    quotes |= {one.quote or "" for one in config.instruments.values()}
    for name in config.account.conversion or {}:
        if name == config.account.currency:
            raise ConfigError(f"account.conversion.{name}: it is account.currency, which needs no rate; leave it out")
        if name not in quotes:
            near = get_close_matches(name, quotes - {""}, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"say which symbol is (instruments.SYMBOL.quote: {name}), or leave it out"
            raise ConfigError(f"account.conversion.{name}: no symbol is quoted in {name}, so nothing would use it; {hint}")
