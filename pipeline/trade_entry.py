"""How a trade came to be: proposal, rank, size, order."""

from typing import Any

from engine.round_trips import Row
from engine.schema import NONE, Action, RecordKind
from pipeline.bar_lookup import bar_dict
from pipeline.entry_order import entry_order
from pipeline.trade_story import MOST_LISTED, Part, Story
from pipeline.wording import moment, number, reason_of


def proposal(story: Story) -> Part:
    """Who proposed it, when, why, and what it asked for."""
    seq = story.chain.get(RecordKind.PROPOSAL)
    if seq is None:
        return Part("proposal")
    row = story.rows[seq]
    did = "long" if row["side"] > 0 else "short"
    aimed = story.market is not None and story.market.proposals.action[row["proposal"]] == Action.TARGET
    rule = story.rule("target" if aimed else did)
    lines = [
        f"{moment(row['ts'])}  {story.trip.strategy} proposed to go {did}, score {row['value']:.6g}"
        + (f"; {'target' if aimed else did}: {rule}" if rule else "")
    ]
    data: dict[str, Any] = {"seq": seq, "ts": row["ts"], "score": row["value"], "rule": rule}
    if story.market is not None:
        at = story.market.last_row(row["symbol"], row["ts"])
        bar = data["bar"] = bar_dict(story.market, at, -row["side"])
        lines.append(f"the bar {moment(bar['open_ts'])} closed at {number(bar['close'])}" + _asked(story, row["proposal"]))
    return Part("proposal", lines, data)


def _asked(story: Story, proposal: int) -> str:
    if story.market is None:
        return ""
    table, asked = story.market.proposals, []
    if table.action[proposal] == Action.TARGET:
        asked.append(f"a weight of {number(float(table.weight[proposal]))}")
    for name in ("stop_loss", "take_profit", "trailing", "break_even"):
        level = float(getattr(table, name)[proposal])
        if level == level:  # NaN: none
            fraction = getattr(table, f"{name}_kind")[proposal] == 1
            asked.append(f"{name} {f'{level * 100:.4g} %' if fraction else number(level)}")
    if table.max_bars[proposal] > 0:
        asked.append(f"max_bars {int(table.max_bars[proposal])}")
    return f"; asked for {', '.join(asked)}" if asked else ""


def rank(story: Story) -> Part:
    """Its place among the entries of the instant, and what became of the others."""
    seq = story.chain.get(RecordKind.SELECTED)
    if seq is None:
        return Part("rank")
    row = story.rows[seq]
    others = _others_of_instant(story, row["ts"], row["proposal"])
    ranked = 1 + sum(1 for one in others if one["rank"])
    most, taken = story.stored.config.selector.max_positions, _slots_taken(story.rows, row["ts"])
    slots = f"; {taken} of {most} slots were taken before" if most else ""
    lines = [f"{row['rank']} of {ranked} {'entry' if ranked == 1 else 'entries'} ranked at that instant{_by_whom(story, row)}{slots}"]
    lines += [_other_line(one, story.words.ranked_by) for one in others[:MOST_LISTED]]
    if len(others) > MOST_LISTED:
        lines.append(f"and {len(others) - MOST_LISTED} more")
    return Part("rank", lines, {"rank": row["rank"], "of": ranked, "slots_taken": taken, "slots": most, "others": others})


def _by_whom(story: Story, row: Row) -> str:
    """Whose selector ranked it, where that is the user's own."""
    name, _ = story.words.ledger.header["models"].get("selector", ("", ""))
    return f" by your own model {name}, key {row['value']:.6g}" if name else ""


def _others_of_instant(story: Story, ts: int, proposal: int) -> list[dict[str, Any]]:
    """What became of the other entries of an instant, by rank, those that dropped out before ranking last."""
    found: dict[int, dict[str, Any]] = {}
    entries = {row["proposal"] for row in story.rows if row["kind"] == RecordKind.SELECTED and row["ts"] == ts}
    for row in story.rows:
        if row["proposal"] in (proposal, NONE):
            continue
        refused = row["kind"] == RecordKind.REJECTED and row["ts"] == ts
        if not refused and row["proposal"] not in entries:
            continue
        one = found.setdefault(
            row["proposal"],
            {
                "symbol": story.words.symbol(row),
                "strategy": story.words.strategy(row),
                "rank": 0,
                "score": row["value"],
                "outcome": "pending",
            },
        )
        if row["rank"]:
            one["rank"], one["score"] = row["rank"], row["value"]
        if row["kind"] in (RecordKind.REJECTED, RecordKind.CANCELLED):
            one["outcome"] = reason_of(row["reason"])
        elif row["kind"] == RecordKind.FILL:
            one["outcome"] = "filled"
    return sorted(found.values(), key=lambda one: (one["rank"] == 0, one["rank"], one["symbol"], one["strategy"]))


def gate(story: Story) -> Part:
    """How it got its size."""
    seq = story.chain.get(RecordKind.APPROVED)
    if seq is None:
        return Part("size")
    row, words = story.rows[seq], story.words
    worth = f"approved {number(words.quantity(row))} at a reference of {number(row['price'])}; {words.amount(row['amount'])} reserved"
    data: dict[str, Any] = {
        "seq": seq, "quantity": words.quantity(row), "reference": row["price"], "reserved": row["amount"] / words.scale,
    }  # fmt: skip
    if story.result is None:
        return Part("size", [worth], data)
    from pipeline.size_steps import size_steps

    size = size_steps(story.result, story.rows, seq)
    lines = [f"{size.model}: {size.formula}"]
    lines += [
        f"{name} leaves {words.amount(units)}: at most {number(quantity)}" for name, units, quantity in size.limits if name == size.cut_by
    ]
    cut = f", cut by {size.cut_by}" if size.cut_by else ", cut by nothing but whole lots"
    return Part("size", [*lines, f"{worth}{cut}"], data | size.as_dict(words.scale))


def order(story: Story) -> Part:
    """The order that the approval became."""
    seq = story.chain.get(RecordKind.ORDER)
    if seq is None:
        return Part("order")
    row, execution = story.rows[seq], story.stored.config.execution
    waits = f", latency {execution.latency}" if execution.latency not in ("0s", "0") else ""
    asked = entry_order(story.market, row) if story.market is not None else None
    prices = dict(asked.prices()) if asked else {}
    how = f"{asked.kind.name.lower().replace('_', '-')} " if asked and prices else ""
    at = "".join(f", {name} {number(price)}" for name, price in prices.items()) or f", timing {execution.timing}"
    line = f"{moment(row['ts'])}  {how}order {row['order_id']} for {number(story.words.quantity(row))}{at}{waits}"
    data = {"seq": seq, "order_id": row["order_id"], "ts": row["ts"], "timing": execution.timing, **prices}
    return Part("order", [line], data | ({"type": asked.kind.name.lower()} if asked else {}))


def _slots_taken(rows: list[Row], ts: int) -> int:
    """Positions and pending entries as the selector of an instant found them."""
    held, pending = set[tuple[int, int]](), dict[int, tuple[int, int]]()
    for row in rows:
        if row["ts"] == ts and row["kind"] == RecordKind.SELECTED:
            break
        slot = row["symbol"], row["strategy"]
        if row["kind"] == RecordKind.POSITION:
            held.discard(slot)
            if row["position"]:
                held.add(slot)
        elif row["kind"] == RecordKind.APPROVED:
            pending[row["proposal"]] = slot
        elif row["kind"] in (RecordKind.FILL, RecordKind.CANCELLED):
            pending.pop(row["proposal"], None)
    return len(held | set(pending.values()))


def _other_line(one: dict[str, Any], ranked_by: str) -> str:
    place, name = (f"rank {one['rank']}", ranked_by) if one["rank"] else ("not ranked", "score")
    return f"{place}: {one['symbol']} {one['strategy']}, {name} {one['score']:.6g}: {one['outcome']}"
