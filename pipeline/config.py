"""What a run is told: the models of a config file, strict, with every key documented.

Reading a file, ``--set`` and error messages are in ``configfile``; the lowering to the replay's units is in ``build``.
Every section is frozen, refuses keys it does not know, and refuses numbers that are not finite.
"""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.instrument import Decimals

UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
LONGEST_US = 36_500 * UNITS_US["d"]

MEMORY = "memory"
"""Stands for a table that is given to ``pipeline.run``."""

NOT_YET = frozenset(
    {
        "account.deposits",
        "account.interest",
        "allocation",
        "combine",
        "equity_every",
        "sweep",
        "walkforward",
    }
)
"""Keys whose meaning is settled but which no part of this version acts on: refused by name rather than ignored."""

NOT_YET_VALUES = {
    "instruments.*.kind": ("inverse_perp", "future", "option"),
}


def _moment(value: object) -> object:
    """A date (its first instant, UTC), a time (UTC unless it says otherwise), or ISO text of one."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date such as 2025-06-01 or a time such as 2025-06-01T08:00:00Z") from None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("must be a date such as 2025-06-01 or a time such as 2025-06-01T08:00:00Z")


def duration_us(value: object) -> int:
    """Microseconds of a duration such as ``250ms`` or ``30d``.

    >>> duration_us("250ms"), duration_us("1h"), duration_us(0)
    (250000, 3600000000, 0)
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    match = re.fullmatch(r"(\d{1,9})(us|ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a whole number with a unit (us, ms, s, m, h, d), such as 250ms, 8h or 30d")
    found = int(match[1]) * UNITS_US[match[2]]
    if found > LONGEST_US:
        raise ValueError("must be at most 36500d")
    return found


def _duration(value: object) -> str:
    duration_us(value)
    return str(value)


def _decimal(value: object) -> object:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool) and Decimals.parse(value):
            return str(value)
    except (ValueError, ArithmeticError):
        pass
    raise ValueError("must be a positive decimal number")


def _iso(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


Moment = Annotated[datetime, BeforeValidator(_moment), PlainSerializer(_iso, return_type=str)]
Duration = Annotated[str, BeforeValidator(_duration)]
Decimal = Annotated[str, BeforeValidator(_decimal)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
OnHeldName = Literal["ignore", "add", "reverse", "replace_levels"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Section(BaseModel):
    """A part of a config: frozen, strict, closed."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Period(Section):
    """The part of the dataset that is replayed."""

    start: Moment | None = Field(default=None, description="first instant; bars open at or after it (default: the first bar)")
    end: Moment | None = Field(default=None, description="last instant; bars close at or before it (default: the last bar)")

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"end {_iso(self.end)} must be after start {_iso(self.start)}")
        return self


class MaintenanceTier(Section):
    """Maintenance margin of a notional from ``floor`` on: notional * rate - deduction."""

    floor: NotNegative = Field(description="notional from which it holds, in account currency; the first is 0")
    rate: float = Field(ge=0, lt=1, description="fraction of the notional")
    deduction: float | None = Field(default=None, description="amount taken off (default: the one that leaves no jump between tiers)")


def _ascending(tiers: list[MaintenanceTier] | None) -> list[MaintenanceTier] | None:
    if tiers is None:
        return None
    if tiers[0].floor != 0:
        raise ValueError(f"must begin with floor 0, not {tiers[0].floor}")
    for one, after in itertools.pairwise(tiers):
        if after.floor <= one.floor or after.rate < one.rate:
            raise ValueError(f"must ascend: floor {after.floor}, rate {after.rate} comes after floor {one.floor}, rate {one.rate}")
    if len({tier.deduction is None for tier in tiers}) == 2:
        raise ValueError("must give a deduction in every tier or in none")
    return tiers


Maintenance = Annotated[list[MaintenanceTier], Field(min_length=1), AfterValidator(_ascending)]


class Account(Section):
    """The one account all strategies share."""

    currency: str = Field(default="USDT", min_length=1, max_length=16, description="printed beside amounts; nothing is converted")
    decimals: int = Field(
        default=6, ge=0, le=12, description="money is kept in units of 10**-decimals: 6 for fiat and stablecoins, 8 for coins"
    )
    cash: Positive = Field(default=100_000.0, description="initial cash")
    margin: Literal["cross", "isolated"] = Field(
        default="cross", description="what secures a position: the whole account, or its own initial margin (which needs maintenance tiers)"
    )
    leverage: float = Field(default=1.0, ge=1, le=1000, description="initial margin of a linear position is its notional / leverage")
    maintenance: Maintenance | None = Field(
        default=None, description="tiers of maintenance margin of linear instruments (default: none, and liquidation only at zero equity)"
    )
    maintenance_basis: Literal["mark", "entry"] = Field(default="mark", description="notional that maintenance is charged on")
    maintenance_fee: Literal["none", "taker_at_bankruptcy"] = Field(
        default="none", description="whether maintenance holds the taker fee of closing"
    )
    liquidation_fee: float = Field(
        default=0.0, ge=0, lt=1, description="fraction of the notional that a liquidation costs beyond the taker fee"
    )


class RulesConfig(Section):
    """What an exchange asks of orders from a date on; a key left out stays as it was."""

    since: Moment = Field(alias="from", description="in force at and after it, until the next")
    tick: Decimal | None = Field(default=None, description="price step")
    lot: Decimal | None = Field(default=None, description="quantity step")
    min_qty: NotNegative | None = Field(default=None, description="smallest entry, in quantity")
    min_notional: NotNegative | None = Field(default=None, description="smallest entry, in account currency at the reference price")


class InstrumentConfig(Section):
    """What is known of a symbol beyond the dataset; a key left out keeps the dataset's value."""

    kind: Literal["spot", "equity", "linear_perp", "fx"] | None = None
    tick: Decimal | None = Field(default=None, description="price step")
    lot: Decimal | None = Field(default=None, description="quantity step")
    multiplier: Decimal | None = Field(default=None, description="units of the underlying per unit of quantity")
    min_qty: NotNegative | None = Field(default=None, description="smallest entry, in quantity")
    min_notional: NotNegative | None = Field(default=None, description="smallest entry, in account currency at the reference price")
    shortable: bool | None = Field(default=None, description="whether a spot instrument may be sold short")
    leverage: float | None = Field(default=None, ge=1, le=1000, description="of this instrument (default: the account's)")
    maintenance: Maintenance | None = Field(default=None, description="tiers of this instrument (default: the account's)")
    sessions: bool | None = Field(default=None, description="whether it trades in sessions (252 periods a year) rather than always (365)")
    rules: list[RulesConfig] | None = Field(
        default=None, max_length=10_000, description="tick, lot, min_qty and min_notional from dates on: [{from: 2024-01-01, tick: 0.1}]"
    )

    @field_validator("rules")
    @classmethod
    def _ascending(cls, rules: list[RulesConfig] | None) -> list[RulesConfig] | None:
        for before, after in itertools.pairwise(rules or ()):
            if after.since <= before.since:
                raise ValueError(f"from {_iso(after.since)} must be after from {_iso(before.since)}, the row before it")
        return rules


def wrong_rules(rows: Any) -> str:
    """What is wrong with the dated rules of a dataset or a source, or nothing."""
    try:
        InstrumentConfig(rules=rows)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return ""


class Kelly(Section):
    """A part of the bet that grows capital fastest, from the proposal's win_probability and payoff."""

    fraction: Fraction = Field(description="part of the full Kelly bet")
    cap: Fraction = Field(default=1.0, description="largest fraction of budget x equity that one entry may be")


class Size(Section):
    """How large an entry is: exactly one key."""

    fixed_qty: Positive | None = Field(default=None, description="a quantity")
    fixed_notional: Positive | None = Field(default=None, description="an amount of account currency")
    fixed_fraction: Positive | None = Field(default=None, description="a fraction of budget x equity")
    fixed_risk: Positive | None = Field(default=None, description="the fraction of budget x equity lost if the stop is hit")
    vol_target: Positive | None = Field(
        default=None, description="target volatility: budget x equity x target / the proposal's volatility, both over the same time"
    )
    kelly: Kelly | None = Field(default=None, description="a part of the Kelly bet on the proposal's win_probability and payoff")
    target_weight: Literal[True] | None = Field(default=None, description="budget x equity x the proposal's weight")
    all_in: Literal[True] | Fraction | None = Field(
        default=None, description="the largest quantity that this fraction of free cash pays, fee included; true: all of it"
    )

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {value: True} if value in ("all_in", "target_weight") else value

    @model_validator(mode="after")
    def _one(self) -> "Size":
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError(f"must have exactly one of {', '.join(type(self).model_fields)}")
        return self


class StrategyConfig(Section):
    """A source of proposals: features and rules, a Python file, or a table of proposals."""

    id: Name = Field(description="name in the ledger")
    budget: Fraction = Field(default=1.0, description="fraction of equity it sizes on")
    size: Size | None = Field(default=None, description="its own size (default: risk.size)")
    on_held: OnHeldName | None = Field(default=None, description="its own way with what it holds (default: selector.on_held)")
    max_adds: int | None = Field(default=None, ge=1, le=1_000_000, description="its own most adds (default: selector.max_adds)")
    features: dict[str, Any] | None = Field(default=None, description="name -> one feature, such as {ema: {of: close, n: 20}}")
    propose: dict[str, Any] | None = Field(
        default=None, description="rules over features and bar columns: long, exit_long, short, score, stop_loss, ..."
    )
    file: str | None = Field(
        default=None, description="a Python file with one class that has features() and propose(), or on_event(); relative to the config"
    )
    params: dict[str, Any] = Field(default_factory=dict, description="parameters of the class in file")
    proposals: str | None = Field(
        default=None, description="a file of proposals, relative to the config, or memory; needs accept: external unless it is certified"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "StrategyConfig":
        sources = [name for name in ("propose", "file", "proposals") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"strategy {self.id!r} must have exactly one of propose (with features), file, proposals; it has {sources or 'none'}"
            )
        if self.features is not None and self.propose is None:
            raise ValueError(f"strategy {self.id!r} has features beside {sources[0]}; features belong with propose")
        if self.params and self.file is None:
            raise ValueError(f"strategy {self.id!r} has params but no file to give them to")
        return self


class Selector(Section):
    """Which entries of an instant are taken."""

    max_positions: int | None = Field(default=None, ge=1, le=1_000_000, description="most (strategy, symbol) held or pending at once")
    min_score: float | None = Field(default=None, description="entries that score less are refused")
    reuse_pending_exit: bool = Field(default=False, description="whether a slot is free as soon as its exit is decided")
    on_held: OnHeldName = Field(default="ignore", description="what an entry does to a position of its own strategy and symbol")
    max_adds: int | None = Field(
        default=None, ge=1, le=1_000_000, description="how often one position may be added to (default: any number)"
    )
    groups: dict[str, list[str]] = Field(default_factory=dict, description="name -> its symbols; a symbol is in at most one group")
    max_per_group: int | None = Field(default=None, ge=1, le=1_000_000, description="most held or pending in one group")
    max_per_strategy: int | None = Field(default=None, ge=1, le=1_000_000, description="most held or pending of one strategy")
    rotate: bool = Field(default=False, description="whether a better proposal replaces the weakest position where no slot is free")
    rotate_margin: NotNegative = Field(default=0.0, description="by how much its score must beat that of the weakest position")

    @field_validator("groups")
    @classmethod
    def _one_group_each(cls, groups: dict[str, list[str]]) -> dict[str, list[str]]:
        _refuse_repeats([symbol for symbols in groups.values() for symbol in symbols], "symbol")
        if "" in groups:
            raise ValueError("a group must have a name")
        return groups

    @model_validator(mode="after")
    def _of_use(self) -> "Selector":
        if self.max_per_group is not None and not self.groups:
            raise ValueError("max_per_group needs groups, such as {majors: [BTCUSDT, ETHUSDT]}")
        if self.rotate and self.max_positions is None:
            raise ValueError("rotate needs max_positions: without a limit no position has to make room")
        if self.rotate_margin and not self.rotate:
            raise ValueError("rotate_margin needs rotate: true")
        return self


class Losses(Section):
    """Trades with a negative net profit, one after another."""

    count: int = Field(ge=1, le=1_000_000, description="losing trades in a row")
    for_: Duration | None = Field(default=None, alias="for", description="how long the halt lasts, such as 3d (default: for ever)")


class Cooldown(Section):
    """A pause after a stop."""

    bars: int = Field(ge=1, le=1_000_000, description="bars of the stopped symbol that must close first")


class ScopeHalts(Section):
    """When entries stop; exits never do."""

    drawdown: Fraction | None = Field(default=None, description="fraction of the peak lost; of a strategy or symbol, of its capital")
    daily_loss: Fraction | None = Field(
        default=None, description="fraction of the day's base lost; of a strategy or symbol, of its capital"
    )
    resume_after: Duration | None = Field(default=None, description="how long a drawdown halt lasts, such as 30d (default: for ever)")
    consecutive_losses: Losses | None = Field(default=None, description="a halt after so many losing trades in a row")
    cooldown: Cooldown | None = Field(default=None, description="a halt after a stop")


class Halts(ScopeHalts):
    """Halts of the whole portfolio, and those of each strategy and each symbol alone."""

    strategy: ScopeHalts = Field(default=ScopeHalts(), description="of each strategy; its capital is budget x initial cash")
    symbol: ScopeHalts = Field(default=ScopeHalts(), description="of each symbol; its capital is the initial cash")


class Risk(Section):
    """The gate every entry passes."""

    size: Size = Field(default_factory=lambda: Size(fixed_fraction=0.1))
    max_position: Positive | None = Field(default=None, description="largest position, as a fraction of equity")
    max_gross: Positive | None = Field(default=None, description="largest sum of |notional|, as a fraction of equity")
    max_net: Positive | None = Field(default=None, description="largest |sum of notional|, as a fraction of equity")
    max_group: Positive | None = Field(
        default=None, description="largest gross exposure of one of selector.groups, as a fraction of equity"
    )
    max_strategy: Positive | None = Field(default=None, description="largest gross exposure of one strategy, as a fraction of equity")
    cash_buffer: float = Field(default=0.0, ge=0, lt=1, description="fraction of equity that entries leave free")
    on_limit: Literal["clip", "reject"] = "clip"
    halts: Halts = Halts()


class Tier(Section):
    """Rates from a traded notional on."""

    from_notional: NotNegative = Field(description="account currency that the account's fills of the 30 days before add up to")
    maker_bps: float = Field(default=0.0, gt=-100, lt=1000)
    taker_bps: float = Field(default=0.0, gt=-100, lt=1000)


class Fees(Section):
    """Fees of a fill; ``bps`` is both maker and taker."""

    bps: float | None = Field(default=None, gt=-100, lt=1000)
    maker_bps: float | None = Field(default=None, gt=-100, lt=1000, description="of resting limits and targets; negative is a rebate")
    taker_bps: float | None = Field(default=None, gt=-100, lt=1000)
    per_unit: NotNegative = Field(default=0.0, description="account currency per unit of quantity")
    flat: NotNegative = Field(default=0.0, description="account currency per fill")
    min_fee: NotNegative = Field(default=0.0, description="the least that a fill is charged, all of its fees together; 0: nothing")
    tiered: list[Tier] | None = Field(
        default=None, min_length=1, max_length=100, description="maker and taker bps by the notional filled in the 30 days before"
    )

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {} if value == "none" else value

    @model_validator(mode="after")
    def _one_of(self) -> "Fees":
        if self.bps is not None and (self.maker_bps is not None or self.taker_bps is not None):
            raise ValueError("has bps beside maker_bps or taker_bps; give either bps or the two")
        if self.tiered is not None and (self.bps, self.maker_bps, self.taker_bps) != (None, None, None):
            raise ValueError("has tiered beside bps, maker_bps or taker_bps; the tiers say both rates")
        floors = [tier.from_notional for tier in self.tiered or ()]
        if floors and (floors[0] != 0 or sorted(set(floors)) != floors):
            raise ValueError(f"has tiered from {', '.join(map(str, floors))}; from_notional must ascend, the first being 0")
        return self


class VolumeShare(Section):
    """Slippage of ``k * share ** 2``, share being that of the volume of the last closed bar."""

    k: NotNegative = Field(description="fraction of the price at a share of 1")
    limit: Fraction = Field(default=1.0, description="largest share counted, and the share where there was no volume")

    @model_validator(mode="after")
    def _leaves_a_price(self) -> "VolumeShare":
        if self.k * self.limit**2 >= 1:
            raise ValueError(f"k {self.k} times limit {self.limit} squared must be below 1, or a sale has no price left")
        return self


class SlippageConfig(Section):
    """What a taker pays beyond the half-spread: nothing, or one key."""

    bps: NotNegative | None = Field(default=None, description="basis points of the price")
    spread: NotNegative | None = Field(default=None, description="a multiple of the half-spread, paid instead of it")
    volume_share: VolumeShare | None = Field(default=None, description="k, limit: grows with the square of the share of volume")
    sqrt_impact: float | None = Field(
        default=None, ge=0, lt=1, description="fraction of the price at the volume of the last closed bar; grows with the root of the share"
    )

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {} if value == "none" else value

    @model_validator(mode="after")
    def _one(self) -> "SlippageConfig":
        if len(self.model_dump(exclude_none=True)) > 1:
            raise ValueError(f"must have one of {', '.join(type(self).model_fields)}")
        return self


class Spread(Section):
    """Where the half-spread of trade candles comes from; ``events`` and ``none`` are short for it."""

    events: bool = Field(default=True, description="whether spread snapshots of the dataset are used")
    default_bps: NotNegative = Field(default=0.0, description="full spread where no snapshot is known")

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {"events": {"events": True}, "none": {"events": False}}.get(value, value) if isinstance(value, str) else value


ModelPath = Annotated[str, Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")]


class Models(Section):
    """The user's own models, each FILE.py:FUNCTION relative to the config, in place of the built-in ones; ``engine.models`` says what each is called with."""

    fee: ModelPath | None = Field(default=None, description="fee of a fill, in place of execution.fees")
    slippage: ModelPath | None = Field(default=None, description="slippage of a taker, in place of execution.slippage")
    fill: ModelPath | None = Field(default=None, description="price of a taker, in place of half-spread and slippage")
    exit: ModelPath | None = Field(default=None, description="stop level after each close of a held bar")


class Participation(Section):
    """How much of a bar's volume fills at most; a number is short for its share of the last closed bar."""

    share: Fraction = Field(description="of the volume, for all orders of a symbol together")
    of: Literal["last", "current"] = Field(
        default="last", description="the last closed bar, or the filling bar itself, which is optimistic"
    )

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return {"share": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Execution(Section):
    """How orders become fills."""

    profile: Literal["vectorbt", "backtesting_py"] | None = Field(
        default=None, description="options under which a run equals another package's; any key given beside it prevails"
    )
    timing: Literal["next_open", "close", "next_close"] = Field(default="next_open", description="close is optimistic")
    size_at: Literal["decision", "fill"] = Field(
        default="decision", description="fill: an all_in entry takes the most that cash pays for when it fills"
    )
    latency: Duration = Field(default="0s", description="an order acts only in bars that open at least this long after the decision")
    interval: str | None = Field(default=None, description="series that fills and marks (default: each symbol's finest)")
    intrabar: Literal["pessimistic", "optimistic", "olhc", "ohlc", "adaptive", "bounds"] = Field(
        default="pessimistic",
        description="which exit a bar that reaches several gives; bounds: the pessimistic, and the optimistic replay beside it",
    )
    limit_gap: Literal["price", "open"] | None = Field(default=None, description="price of a limit or target passed by the open")
    limit_touch: Literal["touch", "through"] = Field(
        default="touch", description="whether a price that only equals a limit or target fills it"
    )
    stop_anchor: Literal["fill", "entry_close"] = Field(
        default="fill", description="what a stop or target given as a fraction is a fraction of: the fill, or the close it was decided at"
    )
    stop_from: Literal["fill", "next_bar"] = Field(default="fill", description="from when the levels of an entry act")
    stop_check: Literal["range", "close"] = Field(
        default="range", description="close: a stop is tested at closes alone, and leaving is then a decision at that close"
    )
    trailing_mode: Literal["close", "intrabar"] = Field(
        default="close", description="intrabar: a bar's own extreme moves a trailing stop before the bar is tested against it; optimistic"
    )
    participation: Participation | None = Field(
        default=None,
        description="largest share of a bar's volume that fills in it, such as 0.1 (default: no limit); needs volume in the data",
    )
    fees: Fees = Fees()
    slippage: SlippageConfig = SlippageConfig()
    spread: Spread = Spread()
    models: Models = Models()
    on_leave: Literal["close", "keep"] = Field(default="close", description="what becomes of a position whose symbol leaves the universe")
    delist_haircut: float = Field(default=0.0, ge=0, le=1, description="fraction of the last close lost when a held symbol is delisted")
    finalize: Literal["close", "mark"] = Field(default="close", description="whether positions are closed at the end of the run")


class RunConfig(Section):
    """One run."""

    name: Name = "run"
    dataset: str = Field(min_length=1, description="a dataset folder, or demo://perps?symbols=20&days=365&interval=1h&seed=7")
    period: Period = Period()
    symbols: list[str] | None = Field(default=None, min_length=1, description="symbols that take part (default: all)")
    account: Account = Account()
    instruments: dict[str, InstrumentConfig] = Field(
        default_factory=dict, description="default, or a symbol -> what differs from the dataset"
    )
    strategies: list[StrategyConfig] = Field(min_length=1)
    selector: Selector = Selector()
    risk: Risk = Risk()
    execution: Execution = Execution()
    accept: Literal["external"] | None = Field(default=None, description="external: run proposals that carry no certificate, and say so")
    ledger: Literal["off", "trades", "full"] = Field(
        default="trades", description="what is kept: full adds the events that met a held symbol"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    jobs: int | None = Field(default=None, ge=1, le=1024, description="workers of stage one (default: one a core)")
    out: str = Field(default="runs", min_length=1, description="folder that receives runs/<run_id>")

    @model_validator(mode="after")
    def _grouped(self) -> "RunConfig":
        if self.risk.max_group is not None and not self.selector.groups:
            raise ValueError("risk.max_group needs selector.groups, such as {majors: [BTCUSDT, ETHUSDT]}")
        return self

    @field_validator("strategies")
    @classmethod
    def _distinct(cls, strategies: list[StrategyConfig]) -> list[StrategyConfig]:
        _refuse_repeats([strategy.id for strategy in strategies], "strategy id")
        return strategies

    @field_validator("symbols")
    @classmethod
    def _distinct_symbols(cls, symbols: list[str] | None) -> list[str] | None:
        _refuse_repeats(symbols or [], "symbol")
        return symbols

    def at(self, resolve: Callable[[str], str]) -> "RunConfig":
        """The same config with the paths of strategies' files and tables resolved."""

        def located(strategy: StrategyConfig) -> StrategyConfig:
            paths = {name: resolve(path) for name in ("file", "proposals") if (path := getattr(strategy, name)) not in (None, MEMORY)}
            return strategy.model_copy(update=paths)

        models = self.execution.models.model_dump(exclude_none=True)
        moved = {kind: f"{resolve(path)}:{name}" for kind, (path, name) in ((k, v.rsplit(":", 1)) for k, v in models.items())}
        execution = self.execution.model_copy(update={"models": Models(**moved)})
        return self.model_copy(update={"strategies": [located(strategy) for strategy in self.strategies], "execution": execution})


def _refuse_repeats(names: list[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} appears {names.count(repeated[0])} times; each may appear once")
