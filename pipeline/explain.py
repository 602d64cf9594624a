"""``tapeline explain``: one trade from its proposal to its exit, with every number worked out again.

1. The ledger gives the chain proposal -> rank -> gate -> order -> fills -> funding -> exit, and the money.
2. The market, where the dataset is still there, gives the bars, the price of each fill, the levels and the size.
What cannot be shown is said.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.round_trips import RoundTrip, Row, causes
from engine.schema import AMBIGUOUS, MAKER, NONE, EventKind, Reason, RecordKind
from pipeline.errors import RunError
from pipeline.fill_price import fill_price
from pipeline.levels import Levels, levels_of
from pipeline.stored_run import StoredRun, open_run, replay_again
from pipeline.wording import Words, moment, number, reason_of, span_text

if TYPE_CHECKING:
    from pipeline.bar_lookup import Market
    from pipeline.result import Result

MOST_LISTED = 8


@dataclass
class Part:
    """One step of the chain: sentences for a reader, and the same as plain values."""

    name: str
    lines: list[str] = field(default_factory=list)
    data: Any = None


@dataclass(frozen=True)
class Explanation:
    """A trade explained."""

    number: int
    trip: RoundTrip
    headline: str
    parts: list[Part]
    not_shown: str

    def lines(self) -> list[str]:
        """What to tell a user."""
        width = max(len(part.name) for part in self.parts) + 2
        told = [self.headline, ""]
        for part in self.parts:
            told += [f"{part.name if i == 0 else '':<{width}}{line}" for i, line in enumerate(part.lines)]
        return [*told, "", f"! not shown: {self.not_shown}"] if self.not_shown else told

    def as_dict(self) -> dict[str, Any]:
        """Plain values; amounts in account currency."""
        trip = self.trip
        return {
            "trade": self.number,
            "symbol": trip.symbol,
            "strategy": trip.strategy,
            "side": "long" if trip.side > 0 else "short",
            "open": trip.open,
            **{part.name: part.data for part in self.parts},
            "not_shown": self.not_shown or None,
        }


def explain(folder: str | Path, trade: str, progress: Callable[[str], None] = lambda _: None) -> Explanation:
    """Explain one trade of a run's folder.

    Parameters
    ----------
    trade
        Its number in ``trades.parquet``, from 1.

    Raises
    ------
    RunError
        If there is no such trade, or the folder contradicts itself.
    LedgerError
        If the ledger was altered.
    """
    progress("ledger")
    stored = open_run(folder)
    wanted = _numbered(stored, trade)
    result, missing = replay_again(stored, progress)
    story = _Story(stored, wanted, result)
    parts = [part for part in story.parts() if part.lines]
    gone = f"{missing}; so the rules' own prices, levels, sizes and bars are left out" if missing else ""
    return Explanation(wanted, story.trip, story.headline(), parts, gone)


def _numbered(stored: StoredRun, trade: str) -> int:
    """A trade's number that is in the run, and whose profit the table of trades and the ledger agree on."""
    import polars as pl

    path, count = stored.folder / "trades.parquet", len(stored.fold.trips)
    there = f"the run has {count:,} trades, numbered from 1" if count else "the run has no trades"
    try:
        wanted = int(trade)
    except ValueError:
        raise RunError(f"--trade {trade}: not a whole number; {there}") from None
    if not 1 <= wanted <= count:
        raise RunError(f"--trade {wanted}: no such trade; {there}")
    try:
        found = pl.read_parquet(path, columns=["pnl_units"])["pnl_units"].to_list()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path}: not the trades of a run ({str(error).splitlines()[0]}); run the config anew") from None
    if found != [trip.pnl for trip in stored.fold.trips]:
        raise RunError(f"{path}: its trades are not those of the ledger; run the config anew")
    return wanted


class _Story:
    """The parts of one trade."""

    def __init__(self, stored: StoredRun, wanted: int, result: "Result | None") -> None:
        from pipeline.bar_lookup import Market

        self.stored, self.number, self.result = stored, wanted, result
        self.trip, self.rows = stored.fold.trips[wanted - 1], stored.rows
        self.words = Words(stored.ledger, stored.rows)
        self.market: Market | None = Market(result.replay.tape, result.replay.proposals, result.replay.settings) if result else None
        self.fills = [seq for seq in self.trip.records if self.rows[seq]["kind"] == RecordKind.FILL]
        self.entries = [seq for seq in self.fills if self.rows[seq]["side"] == self.trip.side]
        self.exits = [seq for seq in self.fills if self.rows[seq]["side"] != self.trip.side]
        self.chain = {RecordKind(self.rows[seq]["kind"]): seq for seq in causes(self.rows, self.entries[0])}
        self.levels = self._levels()

    def _levels(self) -> Levels | None:
        first, end = self.rows[self.entries[0]], self.trip.exit_ts or int(self.rows[-1]["ts"]) + 1
        if self.market is None or first["proposal"] == NONE:
            return None
        return levels_of(self.market, first["proposal"], first["ts"], first["price"], self.trip.side, end)

    def headline(self) -> str:
        trip = self.trip
        side = "long" if trip.side > 0 else "short"
        until = f"to {moment(trip.exit_ts)}, {span_text(trip.exit_ts - trip.entry_ts)}" if not trip.open else "still open at the end"
        return (
            f"trade {self.number} of run {self.stored.summary['run_id']}: {trip.symbol} {side} by {trip.strategy}, "
            f"{moment(trip.entry_ts)} {until}, {self.words.amount(trip.pnl)} {self.stored.summary['currency']}"
        )

    def parts(self) -> list[Part]:
        return [
            self.proposal(), self.rank(), self.gate(), self.order(), self.filled("entry", self.entries), self.moved(), self.funding(),
            self.others(), self.why_left(), self.filled("sale" if self.trip.side > 0 else "purchase", self.exits), self.money(),
        ]  # fmt: skip

    # the decision

    def proposal(self) -> Part:
        seq = self.chain.get(RecordKind.PROPOSAL)
        if seq is None:
            return Part("proposal")
        row = self.rows[seq]
        did = "long" if row["side"] > 0 else "short"
        rule = self._rule(did)
        lines = [f"{moment(row['ts'])}  {self.trip.strategy} proposed to go {did}, score {row['value']:.6g}" + (f"; {did}: {rule}" if rule else "")]
        data: dict[str, Any] = {"seq": seq, "ts": row["ts"], "score": row["value"], "rule": rule}
        if self.market is not None:
            from pipeline.bar_lookup import bar_dict

            at = self.market.last_row(row["symbol"], row["ts"])
            bar = data["bar"] = bar_dict(self.market, at, -row["side"])
            lines.append(f"the bar {moment(bar['open_ts'])} closed at {number(bar['close'])}" + self._asked(row["proposal"]))
        return Part("proposal", lines, data)

    def _rule(self, name: str) -> str | None:
        config = next(one for one in self.stored.config.strategies if one.id == self.trip.strategy)
        rule = (config.propose or {}).get(name)
        return rule if isinstance(rule, str) else None

    def _asked(self, proposal: int) -> str:
        if self.market is None:
            return ""
        table, asked = self.market.proposals, []
        for name in ("stop_loss", "take_profit", "trailing"):
            level = float(getattr(table, name)[proposal])
            if level == level:  # NaN: none  # noqa: PLR0124
                fraction = getattr(table, f"{name}_kind")[proposal] == 1
                asked.append(f"{name} {f'{level * 100:.4g} %' if fraction else number(level)}")
        if table.max_bars[proposal] > 0:
            asked.append(f"max_bars {int(table.max_bars[proposal])}")
        return f"; asked for {', '.join(asked)}" if asked else ""

    def rank(self) -> Part:
        seq = self.chain.get(RecordKind.SELECTED)
        if seq is None:
            return Part("rank")
        row = self.rows[seq]
        others = self._others_of_instant(row["ts"], row["proposal"])
        ranked = 1 + sum(1 for one in others if one["rank"])
        most, taken = self.stored.config.selector.max_positions, _slots_taken(self.rows, row["ts"])
        slots = f"; {taken} of {most} slots were taken before" if most else ""
        lines = [f"{row['rank']} of {ranked} {'entry' if ranked == 1 else 'entries'} ranked at that instant{slots}"]
        lines += [_other_line(one) for one in others[:MOST_LISTED]]
        if len(others) > MOST_LISTED:
            lines.append(f"and {len(others) - MOST_LISTED} more")
        return Part("rank", lines, {"rank": row["rank"], "of": ranked, "slots_taken": taken, "slots": most, "others": others})

    def _others_of_instant(self, ts: int, proposal: int) -> list[dict[str, Any]]:
        """What became of the other entries of an instant, by rank, those that dropped out before ranking last."""
        found: dict[int, dict[str, Any]] = {}
        entries = {row["proposal"] for row in self.rows if row["kind"] == RecordKind.SELECTED and row["ts"] == ts}
        for row in self.rows:
            if row["proposal"] in (proposal, NONE):
                continue
            refused = row["kind"] == RecordKind.REJECTED and row["ts"] == ts
            if not refused and row["proposal"] not in entries:
                continue
            one = found.setdefault(
                row["proposal"],
                {"symbol": self.words.symbol(row), "strategy": self.words.strategy(row), "rank": 0, "score": row["value"], "outcome": "pending"},
            )
            one["rank"] = one["rank"] or row["rank"]
            if row["kind"] in (RecordKind.REJECTED, RecordKind.CANCELLED):
                one["outcome"] = reason_of(row["reason"])
            elif row["kind"] == RecordKind.FILL:
                one["outcome"] = "filled"
        return sorted(found.values(), key=lambda one: (one["rank"] == 0, one["rank"], one["symbol"], one["strategy"]))

    def gate(self) -> Part:
        seq = self.chain.get(RecordKind.APPROVED)
        if seq is None:
            return Part("size")
        row, words = self.rows[seq], self.words
        worth = f"approved {number(words.quantity(row))} at a reference of {number(row['price'])}; {words.amount(row['amount'])} reserved"
        data: dict[str, Any] = {
            "seq": seq, "quantity": words.quantity(row), "reference": row["price"], "reserved": row["amount"] / words.scale,
        }  # fmt: skip
        if self.result is None:
            return Part("size", [worth], data)
        from pipeline.size_steps import size_steps

        size = size_steps(self.result, self.rows, seq)
        lines = [f"{size.model}: {size.formula}"]
        lines += [f"{name} leaves {words.amount(units)}: at most {number(quantity)}" for name, units, quantity in size.limits if name == size.cut_by]
        cut = f", cut by {size.cut_by}" if size.cut_by else ", cut by nothing but whole lots"
        return Part("size", [*lines, f"{worth}{cut}"], data | size.as_dict(words.scale))

    # the orders and fills

    def order(self) -> Part:
        seq = self.chain.get(RecordKind.ORDER)
        if seq is None:
            return Part("order")
        row, execution = self.rows[seq], self.stored.config.execution
        waits = f", latency {execution.latency}" if execution.latency not in ("0s", "0") else ""
        line = f"{moment(row['ts'])}  order {row['order_id']} for {number(self.words.quantity(row))}, timing {execution.timing}{waits}"
        return Part("order", [line], {"seq": seq, "order_id": row["order_id"], "ts": row["ts"], "timing": execution.timing})

    def filled(self, name: str, seqs: list[int]) -> Part:
        lines, data = list[str](), []
        for seq in seqs:
            told, values = self._fill(seq)
            lines += told
            data.append(values)
        return Part(name, lines, data)

    def _fill(self, seq: int) -> tuple[list[str], dict[str, Any]]:
        row, words = self.rows[seq], self.words
        quantity = words.quantity(row)
        did = "bought" if row["side"] > 0 else "sold"
        lines = [f"{moment(row['ts'])}  {did} {number(quantity)} at {number(row['price'])}" + self._partly(seq)]
        data: dict[str, Any] = {
            "seq": seq, "ts": row["ts"], "quantity": quantity, "price": row["price"], "reason": reason_of(row["reason"]),
            "maker": bool(row["flags"] & MAKER), "ambiguous": bool(row["flags"] & AMBIGUOUS), "fee": row["fee"] / words.scale,
        }  # fmt: skip
        worth = 0
        if self.market is not None:
            found = fill_price(self.market, row, self.levels)
            if found is not None:
                lines.append(found.line())
                data["price_steps"] = found.as_dict()
            worth = abs(self.market.value(row["symbol"], row["qty"], row["price"]))
        bps = f" = {row['fee'] / worth * 10_000:.4g} bp of {words.amount(worth)}" if worth else ""
        lines.append(f"fee {words.amount(row['fee'])}{bps} as a {'maker' if row['flags'] & MAKER else 'taker'}")
        return lines, data

    def _partly(self, seq: int) -> str:
        """What of its order an entry fill left unfilled."""
        row = self.rows[seq]
        cause = self.rows[row["cause"]]
        if row["reason"] != Reason.PARTIAL or cause["kind"] != RecordKind.ORDER:
            return ""
        return f", of the {number(self.words.quantity(cause))} ordered"

    # while it was held

    def moved(self) -> Part:
        levels = self.levels
        if levels is None:
            return Part("levels")
        named = [f"{name} {number(level)}" for name, level in (("stop", levels.stop), ("target", levels.target)) if level == level]  # noqa: PLR0124
        lines = [f"{', '.join(named)} from the entry on"] if named else []
        if levels.moves:
            shown = levels.moves if len(levels.moves) <= MOST_LISTED else levels.moves[:3] + levels.moves[-3:]
            told = [f"{moment(ts)} to {number(stop)}" for ts, stop in shown]
            if len(shown) < len(levels.moves):
                told.insert(3, "...")
            lines.append(f"the trailing distance {number(levels.trailing)} moved the stop {len(levels.moves)} times: {', '.join(told)}")
        data = {"stop": _real(levels.stop), "target": _real(levels.target), "trailing": _real(levels.trailing)}
        return Part("levels", lines, data | {"moves": [{"ts": ts, "stop": stop} for ts, stop in levels.moves]})

    def funding(self) -> Part:
        paid = [self.rows[seq] for seq in self.trip.records if self.rows[seq]["kind"] == RecordKind.FUNDING]
        if not paid:
            return Part("funding", [], [])
        count = f"{len(paid)} payment{'s' if len(paid) > 1 else ''}"
        lines = [f"{count}, together {self.words.amount(self.trip.funding)}"]
        if len(paid) <= MOST_LISTED:
            lines += [
                f"{moment(row['ts'])}  {self.words.amount(row['amount']):>10}  rate {row['value'] * 100:.4f} % at {number(row['price'])}"
                for row in paid
            ]
        values = [{"ts": row["ts"], "rate": row["value"], "mark": row["price"], "amount": row["amount"] / self.words.scale} for row in paid]
        return Part("funding", lines, values)

    def others(self) -> Part:
        """Records of kinds that have no part of their own."""
        told = (RecordKind.FILL, RecordKind.POSITION, RecordKind.FUNDING)
        seqs = [seq for seq in self.trip.records if self.rows[seq]["kind"] not in told]
        values = [{"seq": seq, "ts": self.rows[seq]["ts"], "kind": RecordKind(self.rows[seq]["kind"]).name.lower()} for seq in seqs]
        return Part("other", [self.words.record(seq) for seq in seqs], values)

    # the end

    def why_left(self) -> Part:
        if not self.exits:
            return Part("exit", ["none yet: the position was still open at the end of the run"], None)
        row = self.rows[self.exits[-1]]
        name = reason_of(row["reason"])
        lines = [f"{name}: {self._why(row)}"]
        data: dict[str, Any] = {"reason": name, "ts": row["ts"]}
        for seq in reversed(list(causes(self.rows, row["cause"]))):
            kind = self.rows[seq]["kind"]
            if kind in (RecordKind.PROPOSAL, RecordKind.ORDER) and self.rows[seq]["side"] == row["side"]:
                lines.append(self.words.record(seq))
        if self.market is not None:
            data["bar"] = self._bar(self.market, row)
        return Part("exit", lines, data)

    def _why(self, row: Row) -> str:
        reason, side = row["reason"], self.trip.side
        rule = self._rule(f"exit_{'long' if side > 0 else 'short'}") or self._rule("exit")
        plain = {
            Reason.SIGNAL: f"the exit rule was true ({rule})" if rule else "the strategy proposed to leave",
            Reason.MAX_BARS: "it was held for as many bars as its proposal allowed",
            Reason.LEFT_UNIVERSE: "the symbol left the universe",
            Reason.DELISTED: "the symbol was delisted",
            Reason.DATA_ENDED: "the symbol has no further bars",
            Reason.RUN_ENDED: "the run ended",
            Reason.LIQUIDATED_AT_CLOSE: "the account's equity was gone",
            Reason.CROSSED_AT_ENTRY: "the open that filled the entry had already crossed its stop or target",
        }
        return plain.get(reason) or self._touched(row)

    def _touched(self, row: Row) -> str:
        """The bar that reached a level."""
        if self.market is None or self.levels is None:
            return "a level was reached"
        bar = self._bar(self.market, row)
        target = row["reason"] == Reason.TAKE_PROFIT
        level = self.levels.target if target else self.levels.stop_in_bar(bar["open_ts"])
        if row["phase"] == EventKind.BAR_OPEN:
            return f"the bar {moment(bar['open_ts'])} opened at {number(bar['open'])}, beyond the {'target' if target else 'stop'} {number(level)}"
        extreme = "high" if target == (self.trip.side > 0) else "low"
        close = f"{'target' if target else 'stop'} {number(level)}"
        both = "; it reached stop and target, so the policy decided" if row["flags"] & AMBIGUOUS else ""
        return f"the bar {moment(bar['open_ts'])} to {moment(bar['ts'])} had a {extreme} of {number(bar[extreme])} and reached the {close}{both}"

    def _bar(self, market: "Market", row: Row) -> dict[str, Any]:
        from pipeline.bar_lookup import bar_dict

        opens = row["phase"] == EventKind.BAR_OPEN
        at = market.row_opening(row["symbol"], row["ts"]) if opens else market.last_row(row["symbol"], row["ts"])
        return bar_dict(market, at, row["side"])

    def money(self) -> Part:
        trip, words = self.trip, self.words
        steps = [("gross", trip.realised), ("fees", -trip.fees), ("funding", trip.funding)]
        steps += [(kind.replace("_", " "), moved) for kind, moved in trip.flows.items()]
        width = max(len(words.exact(units)) for _, units in [*steps, ("net", trip.pnl)])
        worth = self._worth()
        lines = [f"{name:<8} {words.exact(units):>{width}}{worth if name == 'gross' else ''}" for name, units in steps]
        lines.append(f"{'net':<8} {words.exact(trip.pnl):>{width}}")
        if trip.open:
            lines.append("realised so far; the open position is not in it")
        data = {name: units / words.scale for name, units in steps}
        return Part("result", lines, data | {"net": trip.pnl / words.scale, "units": {**dict(steps), "net": trip.pnl}})

    def _worth(self) -> str:
        """The values whose difference the gross profit is, where two sums of fills make it."""
        if self.market is None or self.trip.open:
            return ""
        given, taken = (sum(self.market.value(self.rows[s]["symbol"], self.rows[s]["qty"], self.rows[s]["price"]) for s in seqs) for seqs in (self.entries, self.exits))
        sold, bought = (taken, given) if self.trip.side > 0 else (given, taken)
        return f"  sold for {self.words.exact(sold)}, bought for {self.words.exact(bought)}" if sold - bought == self.trip.realised else ""


def _slots_taken(rows: list[Row], ts: int) -> int:
    """Positions and pending entries as the selector of an instant found them."""
    held, pending = set[tuple[int, int]](), set[int]()
    for row in rows:
        if row["ts"] == ts and row["kind"] == RecordKind.SELECTED:
            break
        slot = row["symbol"], row["strategy"]
        if row["kind"] == RecordKind.POSITION:
            held.discard(slot)
            if row["position"]:
                held.add(slot)
        elif row["kind"] == RecordKind.APPROVED:
            pending.add(row["proposal"])
        elif row["kind"] in (RecordKind.FILL, RecordKind.CANCELLED):
            pending.discard(row["proposal"])
    return len(held) + len(pending)


def _other_line(one: dict[str, Any]) -> str:
    place = f"rank {one['rank']}" if one["rank"] else "not ranked"
    return f"{place}: {one['symbol']} {one['strategy']}, score {one['score']:.6g}: {one['outcome']}"


def _real(value: float) -> float | None:
    return value if value == value else None  # noqa: PLR0124
