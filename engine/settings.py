"""Everything the replay is told besides data and proposals: one frozen object, read by the kernel's driver and by the oracle."""

from dataclasses import dataclass

from engine.instrument import DatedRate, Instrument
from engine.models import Model, ModelKind
from engine.schema import (
    NEVER,
    Intrabar,
    LimitGap,
    LimitTouch,
    MaintenanceBasis,
    MaintenanceFee,
    MarginMode,
    OnHeld,
    SizeKind,
    Slippage,
    StopAnchor,
    StopCheck,
    StopFrom,
    Timing,
    TrailingMode,
)

UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class StrategySettings:
    """One strategy's share of the account, how it sizes, and what it does with what it holds.

    Attributes
    ----------
    amount
        By ``size``: a quantity, an amount of account currency, a fraction of capital, a fraction of capital at risk, a target volatility, a
        fraction of the Kelly bet, or a multiple of the weight; ``ALL_IN``: the fraction of free cash.
    cap
        Largest fraction of capital that ``KELLY`` bets.
    on_held, max_adds
        What an entry does to a held position, and how often ``ADD`` may.                                  # R4.3
    """

    id: str
    budget: float = 1.0
    size: SizeKind = SizeKind.FIXED_FRACTION
    amount: float = 0.1
    cap: float = float("inf")
    on_held: OnHeld = OnHeld.IGNORE
    max_adds: int = UNLIMITED


@dataclass(frozen=True)
class HaltLimits:
    """What stops the entries of one scope: the portfolio, each strategy, or each symbol.  # R5.3

    Attributes
    ----------
    daily_loss, drawdown
        Fractions lost; infinity: never.
    resume_after_us
        How long a drawdown halt lasts.
    losses, losses_for_us
        Losing trades in a row, 0: never; and how long that halt lasts.
    cooldown_bars
        Bars of its symbol that a stop blocks entries for; 0: none.
    """

    daily_loss: float = float("inf")
    drawdown: float = float("inf")
    resume_after_us: int = NEVER
    losses: int = 0
    losses_for_us: int = NEVER
    cooldown_bars: int = 0


@dataclass(frozen=True)
class FeeTier:
    """Fees from a traded notional on: that of the account's fills of the 30 days before, in account currency.  # R2.6"""

    from_notional: float
    maker_bps: float
    taker_bps: float


@dataclass(frozen=True)
class Conversion:
    """Where the rate of a currency comes from: the closes of a symbol's finest bars, of which one unit of the account buys that many if ``invert``."""

    quote: str
    symbol: str
    invert: bool = False


@dataclass(frozen=True)
class Settings:
    """The replay's part of a configuration, in the units the replay uses.

    Attributes
    ----------
    start_us, end_us
        The run covers bars with ``start_us <= open_ts`` and ``ts <= end_us``.                              # R8.6
    cash
        Initial cash, in money units (``10**-decimals`` of the account currency).
    leverage
        Initial margin is notional / leverage, where an instrument names none of its own.                   # R7.2
    margin, maintenance_basis, maintenance_fee
        What secures a position, and what its maintenance margin is charged on and holds.                   # R7.2
    liquidation_fee
        Fraction of the notional that a liquidation costs beyond the taker fee.                              # R7.3
    interest
        What the account pays on cash below zero, ascending by date.                                         # R6.4
    interval
        Name of the execution series for all symbols; empty: each symbol's finest.                           # R1.8
    size_at_fill
        Whether an ``ALL_IN`` entry takes the most that free cash pays for at its fill, whatever that was at the decision.  # R5.1
    latency_us
        An order acts only in bars that open at least this long after the decision.                         # R2.3
    limit_gap
        Price of a target passed by the open; None: ``OPEN`` for instruments with sessions, else ``PRICE``.   # R2.4
    limit_touch
        Whether a price that only equals a limit or target fills it.                                        # R2.4
    participation, participation_current
        Largest share of the last closed bar's volume (or of the bar's own) that fills in one bar; infinity: no limit.  # R2.6
    stop_anchor, stop_from, stop_check, trailing_mode
        How brackets are meant, from when they act, and against which prices.                          # R2.1, R3.5
    slippage_amount
        Basis points, the multiple of the half-spread, or the coefficient of an impact.
    slippage_limit
        Largest share of volume that an impact counts; it stands for the share where there is no volume.
    spread_events, default_spread_bps
        Whether spread snapshots are used, and the full spread where none is known.                         # R2.2
    maker_bps, taker_bps, per_unit, flat, min_fee
        Fees: of notional in basis points, plus amounts of account currency per unit of quantity and per fill; and the least
        that a fill is charged, if not 0.                                                                  # R2.6
    fee_tiers
        Rates by traded notional, ascending from 0, in place of ``maker_bps`` and ``taker_bps``.
    max_position, max_gross, max_net
        Fractions of equity; infinity: no limit.                                                           # R5.2
    clip
        Whether a limit reduces an entry (True) or refuses it.
    max_group, max_strategy
        Gross exposure of one group of instruments, of one strategy, as fractions of equity.
    halts, strategy_halts, symbol_halts
        When entries stop: all of them, those of a strategy, those of a symbol.                            # R5.3
    max_per_group, max_per_strategy
        Most slots of one group, of one strategy.                                                          # R4.2
    rotate_margin
        By how much the score of a proposal must beat that of the weakest position to replace it; infinity: no rotation.
    delist_haircut
        Fraction of the last close lost, against the position, when a held symbol is delisted.             # R8.4
    models
        The user's own, at most one of a kind; each takes the place of the built-in.                       # R2.8
    seed
        Of the models that draw.                                                                           # R9.2
    conversions
        Rates of the currencies that instruments are quoted in, other than the account's.
    """

    start_us: int
    end_us: int
    cash: int
    instruments: tuple[Instrument, ...]
    strategies: tuple[StrategySettings, ...]
    decimals: int = 6
    leverage: float = 1.0
    margin: MarginMode = MarginMode.CROSS
    maintenance_basis: MaintenanceBasis = MaintenanceBasis.MARK
    maintenance_fee: MaintenanceFee = MaintenanceFee.NONE
    liquidation_fee: float = 0.0
    interest: tuple[DatedRate, ...] = ()
    interval: str = ""
    timing: Timing = Timing.NEXT_OPEN
    size_at_fill: bool = False
    latency_us: int = 0
    intrabar: Intrabar = Intrabar.PESSIMISTIC
    limit_gap: LimitGap | None = None
    limit_touch: LimitTouch = LimitTouch.TOUCH
    participation: float = float("inf")
    participation_current: bool = False
    stop_anchor: StopAnchor = StopAnchor.FILL
    stop_from: StopFrom = StopFrom.FILL
    stop_check: StopCheck = StopCheck.RANGE
    trailing_mode: TrailingMode = TrailingMode.CLOSE
    slippage: Slippage = Slippage.NONE
    slippage_amount: float = 0.0
    slippage_limit: float = 1.0
    spread_events: bool = True
    default_spread_bps: float = 0.0
    maker_bps: float = 0.0
    taker_bps: float = 0.0
    per_unit: float = 0.0
    flat: float = 0.0
    min_fee: float = 0.0
    fee_tiers: tuple[FeeTier, ...] = ()
    max_positions: int = UNLIMITED
    min_score: float = float("-inf")
    reuse_pending_exit: bool = False
    cash_buffer: float = 0.0
    max_position: float = float("inf")
    max_gross: float = float("inf")
    max_net: float = float("inf")
    clip: bool = True
    max_group: float = float("inf")
    max_strategy: float = float("inf")
    halts: HaltLimits = HaltLimits()
    strategy_halts: HaltLimits = HaltLimits()
    symbol_halts: HaltLimits = HaltLimits()
    max_per_group: int = UNLIMITED
    max_per_strategy: int = UNLIMITED
    rotate_margin: float = float("inf")
    close_on_leave: bool = True
    delist_haircut: float = 0.0
    finalize_close: bool = True
    models: tuple[Model, ...] = ()
    seed: int = 0
    conversions: tuple[Conversion, ...] = ()

    def model(self, kind: ModelKind) -> Model | None:
        """The user's model of a kind, if there is one."""
        return next((model for model in self.models if model.kind == kind), None)

    @property
    def scale(self) -> float:
        """Money units in one unit of the account currency."""
        return float(10**self.decimals)
