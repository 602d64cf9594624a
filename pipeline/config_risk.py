"""The sizes, limits and halts of a config."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config_values import Duration, Fraction, Positive, Section


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
