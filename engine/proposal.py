"""A proposal as a strategy writes it while a run goes on: names and plain numbers, checked when it is made."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import isnan
from types import MappingProxyType
from typing import Any

from engine.schema import OPTIONAL_COLUMNS, PROPOSAL_COLUMNS, Action, LevelKind, OrderType, TimeInForce

OF_THE_SESSION = ("ts", "available_ts", "symbol", "strategy", "action", "sequence")
"""Columns that the session fills in, and those that ``Proposal`` names itself."""

VALUES = {name: dtype for name, dtype in PROPOSAL_COLUMNS.items() if name not in OF_THE_SESSION} | OPTIONAL_COLUMNS
"""What else a proposal may say: the other columns of ``engine.schema.PROPOSAL_COLUMNS`` and the optional ones, by type."""

CODES: Mapping[str, type[IntEnum]] = {"order_type": OrderType, "tif": TimeInForce}
"""Columns that may be given by name."""


class ProposalValueError(ValueError):
    """A proposal that makes no sense; the message names the symbol, the key, the value and what is allowed."""


@dataclass(frozen=True, slots=True, init=False)
class Proposal:
    """What a strategy asks for; when it counts from, the session says.

    Parameters
    ----------
    symbol
        A symbol of the run.
    action
        An ``Action``, or its name: ``enter_long``, ``enter_short``, ``exit``, ``exit_long``, ``exit_short``, ``target``.
    strategy
        Id of the strategy it is for; empty: the one that proposes.
    values
        Other columns of ``engine.schema.PROPOSAL_COLUMNS``.  A level may be written ``{"fraction": 0.02}``, of the fill price, and
        ``order_type`` and ``tif`` by name.

    Raises
    ------
    ProposalValueError
        If an action or a column is unknown, a value is not a number, or a target has no weight or is no market order.

    Examples
    --------
    >>> Proposal("BTCUSDT", "enter_long", score=1.5, stop_loss={"fraction": 0.05}).values["stop_loss_kind"]
    1
    >>> Proposal("BTCUSDT", "enter_long", order_type="limit", limit_price=95.0, tif="bars", tif_value=3).values["order_type"]
    1
    """

    symbol: str
    action: Action
    strategy: str
    values: Mapping[str, Any]

    def __init__(self, symbol: str, action: Action | str, strategy: str = "", **values: Any) -> None:
        object.__setattr__(self, "symbol", symbol)
        object.__setattr__(self, "action", _action(symbol, action))
        object.__setattr__(self, "strategy", strategy)
        checked: dict[str, Any] = {}
        for name, value in values.items():
            checked |= _checked(symbol, name, value)
        if self.action == Action.TARGET:
            _check_target(symbol, checked)
        object.__setattr__(self, "values", MappingProxyType(checked))

    def of(self, strategy: str) -> "Proposal":
        """The same, of a strategy, unless it names one."""
        return self if self.strategy else Proposal(self.symbol, self.action, strategy, **self.values)

    def as_plain(self) -> dict[str, Any]:
        """Plain values, from which ``of_plain`` makes an equal proposal."""
        return {"symbol": self.symbol, "action": int(self.action), "strategy": self.strategy, "values": dict(self.values)}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Proposal":
        """The proposal of its plain values."""
        return cls(plain["symbol"], Action(plain["action"]), plain["strategy"], **plain["values"])


def _action(symbol: str, action: Action | str) -> Action:
    try:
        return Action[action.upper()] if isinstance(action, str) else Action(action)
    except (KeyError, ValueError):
        raise ProposalValueError(
            f"proposal for {symbol}: action {action!r} is not one of {', '.join(one.name.lower() for one in Action)}"
        ) from None


def _check_target(symbol: str, values: Mapping[str, Any]) -> None:
    """A target says how much is to be held, and is a market order."""
    if "weight" not in values:
        raise ProposalValueError(
            f"proposal for {symbol}: a target has no weight; give weight, the signed fraction of budget x equity to hold "
            "(weight=0.25, weight=-0.1 for a short, weight=0 to close)"
        )
    for name, plain in (("order_type", OrderType.MARKET), ("tif", TimeInForce.GTC)):
        if values.get(name, plain) != plain:
            said = next((one.name.lower() for one in CODES[name] if one == values[name]), values[name])
            raise ProposalValueError(
                f"proposal for {symbol}: {name} {said!r} of a target, which is a market order that is good till cancelled; leave {name} out"
            )


def _checked(symbol: str, name: str, value: Any) -> dict[str, Any]:
    if name not in VALUES:
        near = difflib.get_close_matches(name, VALUES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(VALUES)}"
        raise ProposalValueError(f"proposal for {symbol}: no column {name!r}{hint}")
    kind = f"{name}_kind"
    if isinstance(value, Mapping) and kind in VALUES:
        if set(value) != {"fraction"}:
            raise ProposalValueError(f"proposal for {symbol}: {name} is a number or {{'fraction': ...}}, not {dict(value)!r}")
        return _checked(symbol, name, value["fraction"]) | {kind: int(LevelKind.FRACTION)}
    return {name: _number(symbol, name, value)}


def _number(symbol: str, name: str, value: Any) -> Any:
    dtype = VALUES[name]
    if dtype == "str":
        return str(value)
    if name in CODES and isinstance(value, str):
        if value.upper() not in CODES[name].__members__:
            allowed = ", ".join(one.name.lower() for one in CODES[name])
            raise ProposalValueError(f"proposal for {symbol}: {name} {value!r} is not one of {allowed}")
        return int(CODES[name][value.upper()])
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ProposalValueError(f"proposal for {symbol}: {name} is a number, not {value!r}") from None
    if not dtype.startswith(("int", "uint")):
        return number
    if isnan(number) or number != int(number):
        raise ProposalValueError(f"proposal for {symbol}: {name} is a whole number, not {value!r}")
    return int(number)
