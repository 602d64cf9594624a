"""``tapeline verify``: believe nothing of a run's folder that cannot be worked out again.

1. The bytes of each file, against the hashes in ``summary.json``, before any is parsed.
2. The ledger's chain, its hash, and every movement of cash and lots, from ``ledger.arrow`` alone.
3. The figures that the folder claims, against the ledger.
4. The run itself: replayed from ``config.yaml``, it must give the same hash, the same summary and the same tables.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import RunError
from pipeline.integrity import read_table
from pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from engine.ledger import Ledger
    from engine.verify import Totals
    from pipeline.result import Result

CIRCUMSTANCES = ("seconds", "seconds_by_stage", "versions")
"""What a summary and a ledger's header say of the making, which another replay need not repeat."""


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
    interest: float
    insurance: float
    dividends: float
    cash_in_lieu: float
    open_positions: int
    final_equity: float
    currency: str
    decimals: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"verified": True, **asdict(self)}

    def lines(self) -> list[str]:
        """What to tell a user."""
        held = f"{self.open_positions} positions open" if self.open_positions else "flat at the end"
        moved = f"realised {self._exact(self.realised)} - fees {self._exact(self.fees)} + funding {self._exact(self.funding)}"
        return [
            f"ledger   {self.records:,} records, chain unbroken; cash and positions follow from it alone",
            f"money    {moved}{self._actions()}; {held}",
            f"equity   {self._exact(self.final_equity)} {self.currency}, as the summary says",
            f"replay   same result {self.result_hash}",
        ]

    def _actions(self) -> str:
        parts = (
            ("interest", self.interest),
            ("insurance", self.insurance),
            ("dividends", self.dividends),
            ("cash in lieu", self.cash_in_lieu),
        )
        return "".join(f" + {name} {self._exact(amount)}" for name, amount in parts if amount)

    def _exact(self, amount: float) -> str:
        """An amount to the last unit."""
        return f"{amount:,.{self.decimals}f}"


def verify_run(folder: str | Path, progress: Progress = silent) -> Verification:
    """Verify a run's folder.

    Raises
    ------
    LedgerError
        If the ledger was altered or does not add up: names the record.
    RunError
        If a file was altered, the folder contradicts its ledger, or the run cannot be replayed or gives another result.
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
    _replay(folder, ledger, summary, progress)
    return Verification(
        run_id=summary["run_id"],
        result_hash=summary["result_hash"],
        records=len(ledger.records),
        cash=totals.cash / scale,
        realised=totals.realised / scale,
        fees=totals.fees / scale,
        funding=totals.funding / scale,
        interest=totals.interest / scale,
        insurance=totals.insurance / scale,
        dividends=totals.dividends / scale,
        cash_in_lieu=totals.cash_in_lieu / scale,
        open_positions=len(totals.lots),
        final_equity=totals.final_equity / scale,
        currency=summary["currency"],
        decimals=int(ledger.header["decimals"]),
    )


def _check_hash(folder: Path, ledger: "Ledger", summary: Mapping[str, Any]) -> None:
    from engine.ledger import result_hash

    counts = {(row["strategy"], row["symbol"], row["reason"]): row["number"] for row in ledger.header["counts"]}
    found = result_hash(ledger.records, ledger.symbols, ledger.strategies, counts)
    for where, said in (("ledger.arrow", ledger.header["result_hash"]), ("summary.json", summary.get("result_hash"))):
        if said != found:
            raise RunError(f"{folder / where}: says result {said}, but its ledger has {found}; run the config anew")


def _check_figures(folder: Path, totals: "Totals", scale: int, summary: Mapping[str, Any]) -> None:
    figures = {
        "final_equity": totals.final_equity,
        "fees": totals.fees,
        "funding": totals.funding,
        "interest": totals.interest,
        "debt_interest": totals.debt_interest,
        "insurance": totals.insurance,
        "dividends": totals.dividends,
        "cash_in_lieu": totals.cash_in_lieu,
        "net_profit": totals.final_equity - totals.deposits,
    }
    for name, units in figures.items():
        if summary.get(name) != units / scale:
            raise RunError(f"{folder / 'summary.json'}: {name} {summary.get(name)}, but the ledger comes to {units / scale}")
    trades = read_table(folder / "trades.parquet")
    parts = trades["pnl_units"].sum() if "pnl_units" in trades.columns else None
    given = totals.funding + totals.interest - totals.debt_interest + totals.insurance + totals.dividends + totals.cash_in_lieu
    earned = totals.realised - totals.fees + given
    if parts is None:
        raise RunError(f"{folder / 'trades.parquet'}: not the trades of a run: it has no column pnl_units; run the config anew")
    if parts != earned:
        raise RunError(f"{folder / 'trades.parquet'}: profits add up to {parts / scale}, but the ledger comes to {earned / scale}")


def _replay(folder: Path, ledger: "Ledger", summary: Mapping[str, Any], progress: Progress) -> None:
    from engine.invariants import check
    from pipeline.folder import stored_config
    from pipeline.launch import run

    try:
        result = run(stored_config(folder), progress=progress)
    except (ValueError, OSError) as error:
        raise RunError(
            f"{folder}: the ledger itself is sound ({len(ledger.records):,} records, chain unbroken; cash and positions follow from it alone), "
            f"but the run cannot be replayed: {error}"
        ) from None
    if result.dataset.id != summary["dataset_id"]:
        raise RunError(
            f"{folder}: made from dataset {summary['dataset_id']!s:.16}, but {result.config.dataset} now holds {result.dataset.id[:16]}; "
            "the ledger itself is sound"
        )
    for name in ("run_id", "result_hash"):
        if getattr(result, name) != summary[name]:
            raise RunError(f"{folder}: replayed, {name} is {getattr(result, name)}, not {summary[name]}; the ledger itself is sound")
    progress("promises")
    check(result.replay)
    progress("summary and tables")
    _check_values(folder / "summary.json", summary, json.loads(json.dumps(result.summary)))
    _check_values(folder / "ledger.arrow", ledger.header, json.loads(json.dumps(result.ledger_header)))
    _check_tables(folder, result)


def _check_values(path: Path, said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name in found:
        if name not in CIRCUMSTANCES and said.get(name) != found[name]:
            raise RunError(f"{path}: {name} is {said.get(name)!r:.60}, but the replay gives {found[name]!r:.60}; run the config anew")


def _check_tables(folder: Path, result: "Result") -> None:
    import polars as pl
    import pyarrow as pa

    tables = {"trades.parquet": result.trades, "equity.parquet": result.equity}
    for name, table in tables.items():
        if not read_table(folder / name).equals(table):
            raise RunError(f"{folder / name}: does not hold what the replay gives; run the config anew")
    with pa.memory_map(str(folder / "ledger.arrow")) as source:
        ledger = pl.DataFrame(pa.ipc.open_file(source).read_all())
    if not result.ledger.equals(ledger):
        raise RunError(f"{folder / 'ledger.arrow'}: its market events are not those of the replay; run the config anew")
