"""How orders become fills, as a config says it: timing, levels inside a bar, volume, fees, slippage, the user's models."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config_values import Duration, Fraction, NotNegative, Section


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
    selector: ModelPath | None = Field(default=None, description="what an entry is ranked by, in place of its score")
    size: ModelPath | None = Field(default=None, description="quantity of an entry, in place of risk.size and the strategies' size")


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
