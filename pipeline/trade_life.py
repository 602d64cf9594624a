"""What became of a trade: fills, levels, payments, exit, result."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.models import ModelKind
from engine.round_trips import Row, causes
from engine.schema import AMBIGUOUS, MAKER, NONE, EventKind, OrderType, Reason, RecordKind
from pipeline.bar_lookup import bar_dict
from pipeline.entry_order import EntryOrder, entry_order
from pipeline.trade_story import MOST_LISTED, Part, Story
from pipeline.wording import moment, number, reason_of

if TYPE_CHECKING:
    from pipeline.bar_lookup import Market
    from pipeline.levels import Asked

LEVEL_REASONS = (Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP, Reason.BREAK_EVEN)


def filled(story: Story, name: str, key: str, seqs: list[int]) -> Part:
    """Fills, each with its price worked out again."""
    lines, data = list[str](), []
    for seq in seqs:
        told, values = _fill(story, seq)
        lines += told
        data.append(values)
    return Part(name, lines, data, key)


def _fill(story: Story, seq: int) -> tuple[list[str], dict[str, Any]]:
    row, words = story.rows[seq], story.words
    quantity = words.quantity(row)
    did = "bought" if row["side"] > 0 else "sold"
    lines = [f"{moment(row['ts'])}  {did} {number(quantity)} at {number(row['price'])}" + _partly(story, seq)]
    data: dict[str, Any] = {
        "seq": seq, "ts": row["ts"], "quantity": quantity, "price": row["price"], "reason": reason_of(row["reason"]),
        "maker": bool(row["flags"] & MAKER), "ambiguous": bool(row["flags"] & AMBIGUOUS), "fee": row["fee"] / words.scale,
    }  # fmt: skip
    worth = 0
    if story.market is not None:
        order = entry_order(story.market, row)
        if order is not None and order.kind != OrderType.MARKET:
            lines.append(_rested(story, row, order))
        found = story.price(seq)
        if found is not None:
            lines.append(found.line())
            data["price_steps"] = found.as_dict()
        worth = abs(story.market.notional(row["symbol"], row["qty"], row["price"], row["ts"]))
    bps = f" = {row['fee'] / worth * 10_000:.4g} bp of {words.amount(worth)}" if worth else ""
    lines.append(f"fee {words.amount(row['fee'])}{bps} as a {'maker' if row['flags'] & MAKER else 'taker'}")
    return lines, data


def _rested(story: Story, row: Row, order: EntryOrder) -> str:
    """Since when an order rested, and the bar that met it."""
    since = story.rows[row["cause"]]["ts"]
    bar = _bar(story.market, row) if story.market is not None else {}
    kind = order.kind.name.lower().replace("_", "-")
    told = f"the {kind} order rested at {', '.join(f'{name} {number(price)}' for name, price in order.prices())} since {moment(since)}"
    if row["phase"] == EventKind.BAR_OPEN:
        return f"{told}, met by the open {number(bar['open'])} of the bar {moment(bar['open_ts'])}"
    down = (row["side"] > 0) == (order.kind == OrderType.LIMIT)
    extreme = "low" if down else "high"
    return f"{told}, touched in the bar {moment(bar['open_ts'])} to {moment(bar['ts'])}, {extreme} {number(bar[extreme])}"


def _partly(story: Story, seq: int) -> str:
    """What of its order an entry fill left unfilled."""
    row = story.rows[seq]
    cause = story.rows[row["cause"]]
    if row["reason"] != Reason.PARTIAL or cause["kind"] != RecordKind.ORDER:
        return ""
    return f", of the {number(story.words.quantity(cause))} ordered"


def moved(story: Story) -> Part:
    """Stop and target, and how the trailing distance moved the stop."""
    levels = story.levels
    if levels is None:
        return Part("levels", _not_worked_out(story))
    named = [f"{name} {number(level)}" for name, level in (("stop", levels.stop), ("target", levels.target)) if level == level]
    lines = [f"{', '.join(named)} from the entry on"] if named else []
    lines += _changes(story)
    if levels.moves:
        shown = levels.moves if len(levels.moves) <= MOST_LISTED else levels.moves[:3] + levels.moves[-3:]
        told = [f"{moment(ts)} to {number(stop)}" for ts, stop in shown]
        if len(shown) < len(levels.moves):
            told.insert(3, "...")
        distances = (("trailing", levels.trailing), ("break-even", levels.break_even))
        by = " and ".join(f"{name} distance {number(distance)}" for name, distance in distances if distance == distance)
        by = "closes" if story.asked else f"the {by}"
        times = "once" if len(levels.moves) == 1 else f"{len(levels.moves)} times"
        lines.append(f"{by} moved the stop {times}: {', '.join(told)}")
    if levels.inside is not None:
        lines.append("each bar's own extreme moves the stop before the bar is tested against it (trailing_mode: intrabar)")
    names = ("stop", "target", "trailing", "break_even")
    changes = [{"ts": asked.ts} | {name: _real(getattr(asked, name)) for name in names} for _, asked in story.asked]
    data: dict[str, Any] = {name: _real(getattr(levels, name)) for name in names}
    return Part("levels", lines, data | {"moves": [{"ts": ts, "stop": stop} for ts, stop in levels.moves], "changes": changes})


def _changes(story: Story) -> list[str]:
    """The changes of its levels, the first and the last of many."""
    told = [_changed(story, seq, asked) for seq, asked in story.asked]
    return told if len(told) <= MOST_LISTED else [*told[:3], f"and {len(told) - 6} more", *told[-3:]]


def _changed(story: Story, seq: int, asked: "Asked") -> str:
    """What changed the levels, when, and to what.  # R4.3"""
    by = "an add" if story.rows[seq]["kind"] == RecordKind.FILL else "a proposal"
    given = (
        ("stop", asked.stop),
        ("target", asked.target),
        ("trailing distance", asked.trailing),
        ("break-even distance", asked.break_even),
    )
    return f"{moment(asked.ts)}  {by} changed them: {', '.join(f'{name} to {number(level)}' for name, level in given if level == level)}"


def _not_worked_out(story: Story) -> list[str]:
    """What changed levels that are not worked out again, and why they are not."""
    if story.market is None:
        return []
    told = _changes(story)
    if story.market.settings.model(ModelKind.EXIT) is not None:
        return [*told, "your own exit model moves the stop; it is not asked again"]
    return [*told, "a split restated the levels, which are not worked out again"] if told else []


def funding(story: Story) -> Part:
    """Payments while it was held."""
    paid = [story.rows[seq] for seq in story.trip.records if story.rows[seq]["kind"] == RecordKind.FUNDING]
    if not paid:
        return Part("funding", [], [])
    count = f"{len(paid)} payment{'s' if len(paid) > 1 else ''}"
    lines = [f"{count}, together {story.words.amount(story.trip.funding)}"]
    if len(paid) <= MOST_LISTED:
        lines += [
            f"{moment(row['ts'])}  {story.words.amount(row['amount']):>10}  rate {row['value'] * 100:.4f} % at {number(row['price'])}"
            for row in paid
        ]
    values = [{"ts": row["ts"], "rate": row["value"], "mark": row["price"], "amount": row["amount"] / story.words.scale} for row in paid]
    return Part("funding", lines, values)


def interest(story: Story) -> Part:
    """What a short paid for what it borrowed, day by day."""
    return _daily(story, "interest", RecordKind.INTEREST, lambda row: f"{row['value'] * 100:.4g} % a year at {number(row['price'])}")


def settlements(story: Story) -> Part:
    """What the days of a future brought; all of it is in the gross profit."""
    return _daily(story, "settled", RecordKind.SETTLEMENT, lambda row: f"at {number(row['price'])}")


def _daily(story: Story, name: str, kind: RecordKind, tell: Callable[[Row], str]) -> Part:
    """What comes once a day while a position is held."""
    paid = [story.rows[seq] for seq in story.trip.records if story.rows[seq]["kind"] == kind]
    if not paid:
        return Part(name, [], [])
    lines = [f"{len(paid)} day{'s' if len(paid) > 1 else ''}, together {story.words.amount(sum(row['amount'] for row in paid))}"]
    if len(paid) <= MOST_LISTED:
        lines += [f"{moment(row['ts'])}  {story.words.amount(row['amount']):>10}  {tell(row)}" for row in paid]
    values = [{"ts": row["ts"], "rate": row["value"], "price": row["price"], "amount": row["amount"] / story.words.scale} for row in paid]
    return Part(name, lines, values)


def others(story: Story) -> Part:
    """Records of kinds that have no part of their own."""
    told = (RecordKind.FILL, RecordKind.POSITION, RecordKind.FUNDING, RecordKind.INTEREST, RecordKind.SETTLEMENT)
    seqs = [seq for seq in story.trip.records if story.rows[seq]["kind"] not in told]
    values = [{"seq": seq, "ts": story.rows[seq]["ts"], "kind": RecordKind(story.rows[seq]["kind"]).name.lower()} for seq in seqs]
    return Part("other", [story.words.record(seq) for seq in seqs], values)


def why_left(story: Story) -> Part:
    """The reason of its end, and the decision or the bar behind it."""
    if story.trip.open:
        return Part("exit", ["none yet: the position was still open at the end of the run"], None)
    row = story.rows[story.exits[-1]]
    name = reason_of(row["reason"])
    lines = [f"{name}: {_why(story, row)}"]
    data: dict[str, Any] = {"reason": name, "ts": row["ts"]}
    for seq in reversed(list(causes(story.rows, row["cause"]))):
        kind = story.rows[seq]["kind"]
        if kind in (RecordKind.PROPOSAL, RecordKind.ORDER) and story.rows[seq]["side"] == row["side"]:
            lines.append(story.words.record(seq))
    if story.market is not None:
        data["bar"] = _bar(story.market, row)
    return Part("exit", lines, data)


def _why(story: Story, row: Row) -> str:
    reason, side = row["reason"], story.trip.side
    rule = story.rule(f"exit_{'long' if side > 0 else 'short'}") or story.rule("exit")
    plain = {
        Reason.SIGNAL: f"the exit rule was true ({rule})" if rule else "the strategy proposed to leave",
        Reason.REVERSED: "an entry of the other side turned the position round",
        Reason.ROTATED: "a better proposal took its place",
        Reason.MAX_BARS: "it was held for as many bars as its proposal allowed",
        Reason.LEFT_UNIVERSE: "the symbol left the universe",
        Reason.DELISTED: "the symbol was delisted",
        Reason.EXPIRED: "its contract expired",
        Reason.DATA_ENDED: "the symbol has no further bars",
        Reason.RUN_ENDED: "the run ended",
        Reason.LIQUIDATED: "the mark reached the liquidation price",
        Reason.LIQUIDATED_AT_CLOSE: "the account's equity was gone",
        Reason.CROSSED_AT_ENTRY: "the open that filled the entry had already crossed its stop or target",
    }
    if reason in plain:
        return plain[reason]
    if reason == Reason.REBALANCED:
        return _rebalanced(story, row)
    return _reached(story, row) if reason in LEVEL_REASONS else "forced, not decided"


def _rebalanced(story: Story, row: Row) -> str:
    """The target that closed a position or some of it, and what refused the other side of one that was to turn it round."""
    refused = next((story.rows[seq] for seq in causes(story.rows, row["cause"]) if story.rows[seq]["proposal"] != NONE), None)
    said = refused if row["proposal"] == NONE and refused is not None else row
    weight = "of the other side" if said is not row else "less"
    if story.market is not None and said["proposal"] != NONE:
        weight = f"{number(float(story.market.proposals.weight[said['proposal']]))} of budget x equity"
    return f"its target was {weight}" + (f", whose own side was refused ({reason_of(said['reason'])})" if said is not row else "")


def _reached(story: Story, row: Row) -> str:
    """The bar that reached a level, or closed beyond it."""
    if story.market is None or story.levels is None:
        return "a level was reached"
    name, order = "target" if row["reason"] == Reason.TAKE_PROFIT else "stop", story.rows[row["cause"]]
    decided = order["kind"] == RecordKind.ORDER and order["side"] == row["side"]
    bar = _bar(story.market, row)
    if decided:  # a stop that looks at closes alone
        at = story.market.last_row(row["symbol"], order["ts"])
        bar = bar_dict(story.market, at, row["side"])
    else:
        at = story.market.last_row(row["symbol"], bar["ts"])
    level = story.levels.acting(bar["open_ts"]).target if name == "target" else story.levels.stop_in_bar(at, bar["open_ts"])
    if decided:
        return f"the bar {moment(bar['open_ts'])} closed at {number(bar['close'])}, beyond the stop {number(level)}"
    if row["phase"] == EventKind.BAR_OPEN:
        return f"the bar {moment(bar['open_ts'])} opened at {number(bar['open'])}, beyond the {name} {number(level)}"
    extreme = "high" if (name == "target") == (story.trip.side > 0) else "low"
    span = f"the bar {moment(bar['open_ts'])} to {moment(bar['ts'])}"
    both = "; it reached stop and target, so the policy decided" if row["flags"] & AMBIGUOUS else ""
    return f"{span} had a {extreme} of {number(bar[extreme])} and reached the {name} {number(level)}{both}"


def _bar(market: "Market", row: Row) -> dict[str, Any]:
    opens = row["phase"] == EventKind.BAR_OPEN
    at = market.row_opening(row["symbol"], row["ts"]) if opens else market.last_row(row["symbol"], row["ts"])
    return bar_dict(market, at, row["side"])


def money(story: Story) -> Part:
    """The sum: gross, fees, funding, net."""
    trip, words = story.trip, story.words
    steps = [("gross", trip.realised), ("fees", -trip.fees), ("funding", trip.funding)]
    steps += [(kind.replace("_", " "), moved) for kind, moved in trip.flows.items()]
    width = max(len(words.exact(units)) for _, units in [*steps, ("net", trip.pnl)])
    worth = _worth(story)
    lines = [f"{name:<8} {words.exact(units):>{width}}{worth if name == 'gross' else ''}" for name, units in steps]
    lines.append(f"{'net':<8} {words.exact(trip.pnl):>{width}}")
    if trip.open:
        lines.append("realised so far; the open position is not in it")
    data = {name: units / words.scale for name, units in steps}
    return Part("result", lines, data | {"net": trip.pnl / words.scale, "units": {**dict(steps), "net": trip.pnl}})


def _worth(story: Story) -> str:
    """The values whose difference the gross profit is, where two sums of fills make it."""
    if story.market is None or story.trip.open:
        return ""
    given, taken = (
        abs(sum(story.market.value(story.rows[s]["symbol"], story.rows[s]["qty"], story.rows[s]["price"]) for s in seqs))
        for seqs in (story.entries, story.exits)
    )
    if story.market.is_inverse(story.rows[story.entries[0]]["symbol"]):
        exact = story.trip.side * (given - taken) == story.trip.realised
        return f"  stood for {story.words.exact(given)} at the entry, for {story.words.exact(taken)} at the exit" if exact else ""
    sold, bought = (taken, given) if story.trip.side > 0 else (given, taken)
    if story.market.instrument(story.rows[story.exits[-1]]["symbol"]).quote:
        return _converted(story, story.market, sold, bought)
    return f"  sold for {story.words.exact(sold)}, bought for {story.words.exact(bought)}" if sold - bought == story.trip.realised else ""


def _converted(story: Story, market: "Market", sold: int, bought: int) -> str:
    """The same in the currency of the prices, where one rate converts the difference."""
    last = story.rows[story.exits[-1]]
    quote, rate = market.instrument(last["symbol"]).quote, market.rate(last["symbol"], last["ts"])
    exact = round((sold - bought) * rate) == story.trip.realised
    amounts = f"sold for {story.words.exact(sold)}, bought for {story.words.exact(bought)} {quote}"
    return f"  {amounts}; 1 {quote} was {number(rate, 7)}" if exact else ""


def _real(value: float) -> float | None:
    return value if value == value else None
