"""The vocabulary of stage two: event kinds, ledger records, reasons, actions and their array types.

Every number that is written to a ledger is defined here and nowhere else.  Members are append-only: a stored
ledger names its own tables in its header, and a changed number would make it unreadable.
"""

from enum import IntEnum
from typing import Any

import numpy as np

SEMANTICS_VERSION = "1"

NONE = -1  # a row, sequence number or id that does not apply
NEVER = np.iinfo(np.int64).max  # a time that does not come
DAY_US = 86_400_000_000


class EventKind(IntEnum):
    """What happens at one timestamp, in this order.  # R1.2"""

    BAR_PATH = 0
    FUNDING_UPDATE = 1
    CANDLE_CLOSE = 2
    SPREAD_SNAPSHOT = 3
    SETTLEMENT = 4
    UNIVERSE_UPDATED = 5
    TRADE_PROPOSED = 6
    RISK = 7
    EXECUTION = 8
    CORPORATE_ACTION = 9
    BAR_OPEN = 10


class RecordKind(IntEnum):
    """Kinds of ledger record.  # R11.1"""

    DEPOSIT = 0
    PROPOSAL = 1
    SELECTED = 2
    APPROVED = 3
    ORDER = 4
    FILL = 5
    POSITION = 6
    FUNDING = 7
    REJECTED = 8
    CANCELLED = 9
    RISK_ALERT = 10
    RUN_END = 11
    LEVELS = 12  # a proposal changed the levels of a held position
    SPLIT = 14
    CASH_IN_LIEU = 15
    DIVIDEND = 16
    INSURANCE = 17  # what an isolated position lost beyond its margin, given back
    CONVERSION = 18  # account money for quote money of a symbol, from here on
    INTEREST = 20  # a day of it, on a short of a spot instrument or on the account's debt
    SETTLEMENT = 21  # a future marked to market


class Reason(IntEnum):
    """Why a record was written."""

    NONE = 0
    # entries that drop out before ranking, in the order they are tested                                      # R4.1
    INVALID = 1
    NOT_IN_UNIVERSE = 2
    WARMUP = 3
    HALTED = 4
    COOLDOWN = 5
    CONFLICT = 6
    ALREADY_HELD = 7
    ALREADY_PENDING = 8
    BELOW_MIN_SCORE = 9
    DUPLICATE = 10
    NOT_SELECTED = 11
    NOT_HELD = 12  # an exit with nothing to close
    # the gate                                                                                           # R5.1, R5.2
    SHORT_NOT_ALLOWED = 20
    BAD_STOP = 21
    NO_SIZE = 22
    BELOW_MIN_QTY = 23
    BELOW_MIN_NOTIONAL = 24
    CASH_BUFFER = 25
    MAX_POSITION = 26
    MAX_GROSS = 27
    MAX_NET = 28
    INSUFFICIENT_MARGIN = 29
    INSUFFICIENT_CASH = 30
    STALE_CLOSE = 31
    # fills
    FILLED = 40
    PARTIAL = 41
    SIGNAL = 42
    STOP_LOSS = 43
    TAKE_PROFIT = 44
    TRAILING_STOP = 45
    CROSSED_AT_ENTRY = 46
    MAX_BARS = 47
    LEFT_UNIVERSE = 48
    DELISTED = 49
    DATA_ENDED = 50
    RUN_ENDED = 51
    LIQUIDATED_AT_CLOSE = 52
    LIQUIDATED = 100
    BREAK_EVEN = 59
    MODEL_STOP = 140  # a stop that the user's exit model set
    NO_RANK = 141  # the user's selector dropped it
    REBALANCED = 142  # a target closed some of a position, or all of it
    NO_CHANGE = 143  # a target that is met, to less than a lot
    # life of an order, a halt, a run
    POSITION_CLOSED = 60
    DRAWDOWN = 61
    DAILY_LOSS = 62
    BANKRUPT = 63
    EXPIRED = 70  # the time in force of an order ended, or its contract
    IMMEDIATE = 71  # what an IOC order left unfilled at its one chance
    # selection and the gate, continued                                                             # R4.2, R4.3, R5.2, R5.3
    REVERSED = 80  # the part of a reversal's fill that closes
    ROTATED = 81  # made room for a better proposal
    LEG_REFUSED = 82  # another leg of its decision ended
    MAX_GROUP = 83
    MAX_STRATEGY = 84
    CONSECUTIVE_LOSSES = 85
    # corporate actions
    CASH_IN_LIEU = 120  # what a split leaves of a lot


class Action(IntEnum):
    """What a proposal asks for."""

    ENTER_LONG = 0
    ENTER_SHORT = 1
    EXIT = 2  # whichever side is held
    EXIT_LONG = 3
    EXIT_SHORT = 4
    TARGET = 5  # that the position be ``weight`` of capital


class Accounting(IntEnum):
    """How a fill moves cash.  # R6.2"""

    SPOT = 0  # its value, against cash
    LINEAR = 1  # profit, at the close
    INVERSE = 2  # the same, in the coin that the contract is on


class OrderType(IntEnum):
    """At which price an entry is willing to fill.  # R2.1"""

    MARKET = 0
    LIMIT = 1
    STOP = 2
    STOP_LIMIT = 3


class TimeInForce(IntEnum):
    """For how long an entry may fill.  # R2.1"""

    GTC = 0  # until it is cancelled
    GTD = 1  # in bars that close by a time
    IOC = 2  # at one open
    BARS = 3  # in so many bars


class MarginMode(IntEnum):
    """What secures a linear position.  # R7.2"""

    CROSS = 0  # the whole account
    ISOLATED = 1  # its own initial margin


class MaintenanceBasis(IntEnum):
    """The notional that maintenance margin is charged on.  # R7.2"""

    MARK = 0
    ENTRY = 1


class MaintenanceFee(IntEnum):
    """Whether maintenance margin holds the fee of closing.  # R7.2"""

    NONE = 0
    TAKER_AT_BANKRUPTCY = 1


class Timing(IntEnum):
    """When a decision made at a close fills.  # R2.3"""

    NEXT_OPEN = 0
    CLOSE = 1
    NEXT_CLOSE = 2


class Intrabar(IntEnum):
    """Which exit is taken when one bar reaches several.  # R3.3"""

    PESSIMISTIC = 0
    OPTIMISTIC = 1
    OLHC = 2
    OHLC = 3
    ADAPTIVE = 4


class LimitGap(IntEnum):
    """Price of a resting limit that the open has passed.  # R2.4"""

    PRICE = 0
    OPEN = 1


class LimitTouch(IntEnum):
    """Whether a price that only equals a resting limit fills it.  # R2.4"""

    TOUCH = 0
    THROUGH = 1


class StopAnchor(IntEnum):
    """What a stop or target given as a fraction is a fraction of.  # R2.1"""

    FILL = 0
    ENTRY_CLOSE = 1  # the close at which the entry was decided


class StopFrom(IntEnum):
    """From when a bracket acts.  # R2.1"""

    FILL = 0
    NEXT_BAR = 1


class StopCheck(IntEnum):
    """What a stop is compared with.  # R2.1"""

    RANGE = 0
    CLOSE = 1


class TrailingMode(IntEnum):
    """When a bar's extreme moves a trailing stop.  # R3.5"""

    CLOSE = 0
    INTRABAR = 1  # before the bar is tested against it


class SizeKind(IntEnum):
    """How the gate turns a proposal into a quantity.  # R5.1"""

    FIXED_QTY = 0
    FIXED_NOTIONAL = 1
    FIXED_FRACTION = 2
    FIXED_RISK = 3
    ALL_IN = 4
    VOL_TARGET = 5
    KELLY = 6
    TARGET_WEIGHT = 7
    MODEL = 8  # the user's own


class OnHeld(IntEnum):
    """What an entry proposal does to a position of its own (strategy, symbol).  # R4.3"""

    IGNORE = 0
    ADD = 1
    REVERSE = 2
    REPLACE_LEVELS = 3


class Slippage(IntEnum):
    """What a taker pays beyond the half-spread.  # R2.6"""

    NONE = 0
    BPS = 1
    SPREAD = 2  # a multiple of the half-spread, paid instead of it
    VOLUME_SHARE = 3  # grows with the square of the share of volume
    SQRT_IMPACT = 4  # grows with its root
    MODEL = 5  # the user's own, of the slippage or of the fill


class LevelKind(IntEnum):
    """How a stop, target, trailing or break-even value of a proposal is meant.  # R2.1"""

    PRICE = 0
    FRACTION = 1  # of the fill price


AMBIGUOUS = 1  # flag of a FILL: the pessimistic and the optimistic exit of its bar differ            # R3.3
MAKER = 2  # flag of a FILL: it rested and paid the maker fee alone                                    # R2.5
MORE = 4  # flag of a FILL: its order has more to fill, so it does not end the proposal                # R5.4

OUTSIDE = 255  # phase of what is no event's doing: the deposit and the end of the run

COUNTED = (Reason.ALREADY_HELD, Reason.ALREADY_PENDING, Reason.NOT_HELD, Reason.NO_CHANGE)  # not stored below `full`     # R5.4

RECORD = np.dtype(
    [
        ("ts", "<i8"),  # us, UTC
        ("qty", "<i8"),  # lots, never negative
        ("price", "<f8"),
        ("fee", "<i8"),  # money
        ("amount", "<i8"),  # money: what the record moves (see docs/ledger.md)
        ("cash", "<i8"),  # money, after the record
        ("position", "<i8"),  # signed lots of (strategy, symbol), after the record
        ("value", "<f8"),  # score, funding rate, fraction lost, or what a split multiplies lots by
        ("order_id", "<i4"),
        ("proposal", "<i4"),  # row of the run's sorted proposals
        ("cause", "<i4"),  # seq of the record that led here
        ("symbol", "<i4"),
        ("rank", "<i4"),
        ("strategy", "<i2"),
        ("kind", "u1"),
        ("side", "i1"),  # +1 buy, -1 sell
        ("reason", "u1"),
        ("flags", "u1"),
        ("phase", "u1"),  # EventKind at which it was written, or OUTSIDE
    ],
    align=True,
)
"""One ledger record; ``seq`` is its index."""

PROPOSAL_COLUMNS = {
    "ts": "int64",  # us, UTC; the close at which it was decided
    "available_ts": "int64",  # us, UTC; from when it may be known (default: ts)                        # R1.7
    "symbol": "str",
    "strategy": "str",
    "action": "int8",  # Action
    "score": "float64",  # (default: 0)
    "stop_loss": "float64",  # NaN: none
    "stop_loss_kind": "int8",  # LevelKind (default: PRICE), and so on
    "take_profit": "float64",
    "take_profit_kind": "int8",
    "trailing": "float64",
    "trailing_kind": "int8",
    "break_even": "float64",
    "break_even_kind": "int8",
    "max_bars": "int64",  # 0: none
    "order_type": "int8",  # OrderType of an entry (default: MARKET); exits are market orders
    "limit_price": "float64",
    "stop_price": "float64",  # trigger of a stop or stop-limit
    "tif": "int8",  # TimeInForce (default: GTC)
    "tif_value": "int64",  # us, UTC, of GTD; number of BARS
    "sequence": "int64",  # place among the proposals of one (strategy, symbol) (default: order of the rows)
}
"""Columns of a proposal table; all but ts, symbol, strategy and action have defaults."""

OPTIONAL_COLUMNS = {
    "weight": "float64",  # share of capital wanted (NaN: none), signed of a TARGET                                              # R5.1
    "volatility": "float64",  # a fraction, over the time that the target volatility is of (NaN: none)
    "win_probability": "float64",  # of the trade (NaN: none)
    "payoff": "float64",  # average win over average loss (NaN: none)
    "leg": "int64",  # rows of one instant and strategy with one leg are one decision (0: none)              # R4.2
}
"""Columns that a proposal table has only where something uses them."""


def default_of(name: str) -> Any:
    """What a column of a proposal table holds where a proposal does not say.

    >>> default_of("score"), default_of("stop_loss"), default_of("max_bars")
    (0.0, nan, 0)
    """
    dtype = (PROPOSAL_COLUMNS | OPTIONAL_COLUMNS)[name]
    if dtype == "str":
        return ""
    return 0 if dtype.startswith("int") else 0.0 if name == "score" else np.nan
