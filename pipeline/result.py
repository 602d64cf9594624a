"""The answer of a run: figures, tables and the ledger, each worked out when it is first asked for."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.dataset import Dataset
from engine.schema import SEMANTICS_VERSION, Reason, RecordKind
from engine.session import ReplayResult
from pipeline import identity, trades
from pipeline.build import iso, lot_quantities, multipliers, trades_in_sessions
from pipeline.buy_and_hold import BuyAndHold, buy_and_hold
from pipeline.config import RunConfig
from pipeline.errors import RunError
from pipeline.metrics import Account, Metrics, metrics

if TYPE_CHECKING:
    import polars as pl

    from pipeline.bounds import Bounds
    from pipeline.given import GivenTable

PACKAGES = ("tapeline", "numba", "numpy", "polars", "pyarrow")


@dataclass(frozen=True)
class Result:
    """What a run left behind.

    Attributes
    ----------
    config
        The config, resolved.
    dataset
        The market data it ran on.
    replay
        Ledger records, equity samples and outcomes, as arrays.
    provenance
        ``certified``, ``streamed`` or ``external``: the weakest among the proposals.                     # R11.4
    seconds
        Wall time of each stage, by name.
    given
        Tables of proposals that the config named, by strategy.
    streamed
        Strategies that decided event by event.
    best
        The optimistic replay beside it, under ``intrabar: bounds``.                                    # R3.7
    """

    config: RunConfig
    dataset: Dataset = field(repr=False)
    replay: ReplayResult = field(repr=False)
    provenance: str = "certified"
    seconds: Mapping[str, float] = field(default_factory=dict)
    given: Mapping[str, "GivenTable"] = field(default_factory=dict, repr=False)
    streamed: tuple[str, ...] = ()
    best: ReplayResult | None = field(default=None, repr=False)

    @cached_property
    def run_id(self) -> str:
        """Name of the run, from its inputs alone."""
        return identity.run_id(
            self.config, self.replay.settings, self.dataset.id, {name: table.content_id for name, table in self.given.items()}
        )

    @cached_property
    def result_hash(self) -> str:
        """SHA-256 of the canonical ledger: equal results have equal hashes.  # R9.3"""
        from engine.ledger import count_outcomes, result_hash

        return result_hash(self.replay.records, self.replay.symbols, self.replay.strategies, count_outcomes(self.replay))

    @cached_property
    def _trades(self) -> tuple[NDArray[Any], trades.Totals]:
        inverse = self.replay.tape.specs["inverse"] != 0
        return trades.trades_of(self.replay.records, len(self.replay.symbols), len(self.replay.strategies), inverse)

    @property
    def trade_records(self) -> NDArray[Any]:
        """The trades, dtype ``pipeline.trades.TRADE``, in the order of entries."""
        return self._trades[0]

    @cached_property
    def optimistic(self) -> "Result | None":
        """The result of the optimistic replay, under ``intrabar: bounds``."""
        return None if self.best is None else replace(self, replay=self.best, best=None)

    @cached_property
    def bounds(self) -> "Bounds | None":
        """What hangs on the order of prices inside bars, under ``intrabar: bounds``.  # R3.7"""
        from pipeline.bounds import bounds

        return None if self.optimistic is None else bounds(self, self.optimistic)

    @cached_property
    def unrealised(self) -> NDArray[np.int64]:
        """Unrealised profit of each trade, in money units; 0 for those that are closed."""
        return trades.unrealised(self.replay.records, self._trades[0], self.replay.tape, self.replay.settings.scale)

    @cached_property
    def metrics(self) -> Metrics:
        """Figures of the run."""
        settings, (found, totals) = self.replay.settings, self._trades
        units = np.array(lot_quantities(settings)) * np.array(multipliers(settings))
        account = Account(settings.cash, self.replay.final_equity, settings.scale, *self.period, totals.debt_interest)
        return metrics(
            found,
            self.replay.sample_ts,
            self.replay.equity,
            account,
            trades_in_sessions(settings),
            float(totals.traded @ units),
            totals.ambiguous,
        )

    @property
    def period(self) -> tuple[int, int]:
        """Start of the run and its last sample, us, UTC."""
        settings = self.replay.settings
        return settings.start_us, int(self.replay.sample_ts[-1]) if len(self.replay.sample_ts) else settings.start_us

    @cached_property
    def buy_and_hold(self) -> BuyAndHold:
        """The same symbols, held."""
        return buy_and_hold(self.replay.tape, trades_in_sessions(self.replay.settings))

    @cached_property
    def profit_by_symbol(self) -> dict[str, int]:
        """Net profit in money units; with the interest on debt it adds up exactly to final equity less initial cash."""
        return self._profit_by("symbol", self.replay.symbols)

    @cached_property
    def profit_by_strategy(self) -> dict[str, int]:
        """Net profit in money units; with the interest on debt it adds up exactly to final equity less initial cash."""
        return self._profit_by("strategy", self.replay.strategies)

    def _profit_by(self, column: str, names: tuple[str, ...]) -> dict[str, int]:
        found = self._trades[0]
        total = trades.sum_by(found[column], found["pnl"] + self.unrealised, len(names))
        return dict(zip(names, total.tolist(), strict=True))

    @cached_property
    def rejected(self) -> dict[str, int]:
        """How many proposals ended without a fill, by reason, most first."""
        records = self.replay.records
        ended = (records["kind"] == RecordKind.REJECTED) | ((records["kind"] == RecordKind.CANCELLED) & (records["proposal"] >= 0))
        codes = np.bincount(records["reason"][ended], minlength=256) + np.bincount(self.replay.outcomes, minlength=256)
        codes[Reason.NONE] = 0
        found = {Reason(int(code)).name.lower(): int(codes[code]) for code in np.flatnonzero(codes)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def notices(self) -> list[str]:
        """What a reader of the figures must know."""
        from pipeline.notices import notices

        return notices(self)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Everything on one page, as plain values; amounts in account currency, fractions of 1."""
        settings, scale = self.replay.settings, self.replay.settings.scale
        names = ("run_id", "result_hash")
        return {
            **{name: getattr(self, name) for name in names},
            "name": self.config.name,
            **self.metrics.as_dict(),
            "seconds": round(sum(self.seconds.values()), 6),
            "seconds_by_stage": {name: round(seconds, 6) for name, seconds in self.seconds.items()},
            "start": iso(settings.start_us),
            "end": iso(self.period[1]),
            "currency": self.config.account.currency,
            "decimals": settings.decimals,
            "initial_equity": settings.cash / scale,
            "buy_and_hold": asdict(self.buy_and_hold),
            "profit_by_symbol": {name: profit / scale for name, profit in self.profit_by_symbol.items()},
            "profit_by_strategy": {name: profit / scale for name, profit in self.profit_by_strategy.items()},
            "proposals": len(self.replay.proposals.ts),
            "rejected": self.rejected,
            "bankrupt": self.replay.bankrupt,
            "provenance": self.provenance,
            "notices": self.notices,
            **({} if self.bounds is None else {"bounds": self.bounds.as_dict()}),
            "dataset_id": self.dataset.id,
            "semantics": SEMANTICS_VERSION,
            "seed": self.config.seed,
            "ledger": self.config.ledger,
            "versions": {"python": platform.python_version(), **_versions()},
        }

    @cached_property
    def equity(self) -> "pl.DataFrame":
        """Equity at each sample: ``ts``, ``equity`` in account currency, ``drawdown`` from the peak so far, ``equity_units`` as an integer."""
        import polars as pl

        equity = self.replay.equity
        peak = np.maximum(np.maximum.accumulate(equity), self.replay.settings.cash) if len(equity) else equity
        return pl.DataFrame(
            {
                "ts": pl.Series(self.replay.sample_ts).cast(pl.Datetime("us", "UTC")),
                "equity": equity / self.replay.settings.scale,
                "drawdown": (peak - equity) / peak,
                "equity_units": equity,
            }
        )

    @cached_property
    def trades(self) -> "pl.DataFrame":
        """One row a trade: times, prices, quantity, profit and its parts, bars held, MAE and MFE, why it ended.

        Under ``intrabar: bounds`` also ``pnl_optimistic``: the profit of the same trade in the optimistic replay, null where it was not made.
        """
        found, replay = self._trades[0], self.replay
        reach = trades.excursions(found, replay.tape, self.period[1])
        lots = np.array(lot_quantities(replay.settings))
        frame = trades.trades_frame(found, reach, replay.symbols, replay.strategies, lots, replay.settings.scale)
        return (
            frame if self.optimistic is None else trades.with_optimistic(frame, found, self.optimistic.trade_records, replay.settings.scale)
        )

    @cached_property
    def ledger(self) -> "pl.DataFrame":
        """The ledger, one row a record, names written out; with ``ledger: full`` the market events in between, whose ``seq`` is null."""
        import polars as pl

        from engine.full_ledger import full_table
        from engine.record_table import to_table

        full, replay = self.config.ledger == "full", self.replay
        frame = pl.from_arrow(full_table(replay) if full else to_table(replay.records, replay.symbols, replay.strategies))
        if not isinstance(frame, pl.DataFrame):
            raise RunError("the ledger is not a table")
        return frame

    @cached_property
    def ledger_header(self) -> dict[str, Any]:
        """What the ledger file says of the run.  # R11.2"""
        from engine.ledger import ledger_header

        return ledger_header(
            self.replay,
            dataset_id=self.dataset.id,
            run_id=self.run_id,
            name=self.config.name,
            seed=self.config.seed,
            provenance=self.provenance,
        )

    def plot(self) -> Any:
        """Equity and drawdown as a Plotly figure.

        Raises
        ------
        RunError
            Without the ``report`` extra.
        """
        from pipeline.plot import figure

        return figure(self)

    def _repr_html_(self) -> str:
        from pipeline.summary import as_html

        return as_html(self)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "source tree"
    return found
