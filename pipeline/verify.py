"""``tapeline verify``: believe nothing of a run's folder that cannot be worked out again.

1. The ledger's chain, its hash, and every movement of cash and lots, from ``ledger.arrow`` alone.
2. The figures that the folder claims, against the ledger.
3. The run itself: replayed from ``config.yaml``, it must give the same hash.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError

if TYPE_CHECKING:
    from engine.ledger import Ledger
    from engine.verify import Totals


@dataclass(frozen=True)
class Verification:
    """What was worked out again; amounts in account currency."""

    run_id: str
    result_hash: str
    records: int
    cash: float
    realised: float
    fees: float
    funding: float
    open_positions: int
    final_equity: float
    currency: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"verified": True, **asdict(self)}

    def lines(self) -> list[str]:
        """What to tell a user."""
        held = f"{self.open_positions} positions open" if self.open_positions else "flat at the end"
        return [
            f"ledger   {self.records:,} records, chain unbroken; cash and positions follow from it alone",
            f"money    realised {self.realised:,.6f} - fees {self.fees:,.6f} + funding {self.funding:,.6f}; {held}",
            f"equity   {self.final_equity:,.6f} {self.currency}, as the summary says",
            f"replay   same result {self.result_hash}",
        ]


def verify_run(folder: str | Path, progress: Callable[[str], None] = lambda _: None) -> Verification:
    """Verify a run's folder.

    Raises
    ------
    LedgerError
        If the ledger was altered or does not add up: names the record.
    RunError
        If the folder contradicts its ledger, or the replay gives another result.
    """
    from engine.ledger import read_ledger
    from engine.verify import verify_ledger
    from pipeline.folder import read_summary

    folder = Path(folder)
    summary = read_summary(folder)
    if summary["ledger"] == "off":
        raise RunError(f"{folder}: the run kept no ledger (ledger: off), so there is nothing to verify; run it with ledger: trades")
    progress("ledger")
    ledger = read_ledger(folder / "ledger.arrow")
    _check_hash(folder, ledger, summary)
    totals = verify_ledger(ledger)
    scale = 10 ** int(ledger.header["decimals"])
    _check_figures(folder, totals, scale, summary)
    _replay(folder, summary, progress)
    return Verification(
        run_id=summary["run_id"],
        result_hash=summary["result_hash"],
        records=len(ledger.records),
        cash=totals.cash / scale,
        realised=totals.realised / scale,
        fees=totals.fees / scale,
        funding=totals.funding / scale,
        open_positions=len(totals.lots),
        final_equity=totals.final_equity / scale,
        currency=summary["currency"],
    )


def _check_hash(folder: Path, ledger: "Ledger", summary: Mapping[str, Any]) -> None:
    from engine.ledger import result_hash

    counts = {(row["strategy"], row["symbol"], row["reason"]): row["number"] for row in ledger.header["counts"]}
    found = result_hash(ledger.records, ledger.symbols, ledger.strategies, counts)
    for where, said in (("ledger.arrow", ledger.header["result_hash"]), ("summary.json", summary.get("result_hash"))):
        if said != found:
            raise RunError(f"{folder / where}: says result {said}, but its ledger has {found}; run the config anew")


def _check_figures(folder: Path, totals: "Totals", scale: int, summary: Mapping[str, Any]) -> None:
    import polars as pl

    figures = {
        "final_equity": totals.final_equity,
        "fees": totals.fees,
        "funding": totals.funding,
        "net_profit": totals.final_equity - totals.deposits,
    }
    for name, units in figures.items():
        if summary.get(name) != units / scale:
            raise RunError(f"{folder / 'summary.json'}: {name} {summary.get(name)}, but the ledger comes to {units / scale}")
    parts = pl.read_parquet(folder / "trades.parquet", columns=["pnl_units"])["pnl_units"].sum()
    earned = totals.realised - totals.fees + totals.funding
    if parts != earned:
        raise RunError(f"{folder / 'trades.parquet'}: profits add up to {parts / scale}, but the ledger comes to {earned / scale}")


def _replay(folder: Path, summary: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    from pipeline.folder import stored_config
    from pipeline.launch import run

    result = run(stored_config(folder), progress=progress)
    if result.dataset.id != summary["dataset_id"]:
        raise RunError(
            f"{folder}: made from dataset {summary['dataset_id'][:16]}, but {result.config.dataset} now holds {result.dataset.id[:16]}; "
            "the ledger itself is sound"
        )
    for name in ("run_id", "result_hash"):
        if getattr(result, name) != summary[name]:
            raise RunError(f"{folder}: replayed, {name} is {getattr(result, name)}, not {summary[name]}; the ledger itself is sound")
