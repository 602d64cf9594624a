"""Mutants that no test can tell from the original, each with the reason."""

import re

SIDE = r"(\w+\['side'\]|side|of|direction|state\.\w+\[\w+\]\['side'\])"

SAME: tuple[tuple[str, str, str], ...] = (
    (r".*", rf"{SIDE} > 0 -> {SIDE} >= 0", "a side is +1 or -1, never 0"),
    (r".*", rf"{SIDE} < 0 -> {SIDE} (<= 0|< 1)", "a side is +1 or -1, never 0"),
    (r".*", rf".* \* {SIDE} -> .* / {SIDE}", "divided by +1 or -1 is times it"),
    (r"money\.money", r"abs\(rounded\) < _LIMIT -> .*", "the limit itself is what a product beyond it becomes"),
    (r"money\.money", r"rounded > 0 -> rounded (>= 0|> 1)", "what is beyond the limit is not near 0"),
    (r"money\.whole_lots", r"steps > 0 -> steps >= 0", "no steps are no lots either way"),
    (r"exits\.level_price", r"0\.0 < price < np\.inf -> 0\.0 <= .*", "a price of 0 is 0 on the tick, and refused after it"),
    (r"exits\.watches", r"spec\['tier_first'\] < .* -> .* <= spec\['tier_stop'\]", "a position watched in vain only takes time"),
    (r"exits\.watches", r"position\['change'\] != NONE -> .* == NONE", "a position watched in vain only takes time"),
    (r"exits\.follow", r"position\['level_row'\] < row -> .* <= row", "the bar that opens has not closed"),
    (r"liquidation\.stake_of", r"position\['value'\] - position\['cost'\] -> .*", "a stake's profit is looked at under cross margin alone"),
    (r"liquidation\.price_of", r"lots > 0 -> lots >= 0", "a stake of no lots has no price whatever its side"),
    (r"liquidation\.heaviest", r"range\(1, .* -> range\(0, .*", "the first is no heavier than itself"),
    (r".*", r"(state\.)?account(\[0\])?\['n_levels'\] -= .* -> .*", "levels counted too often are visited in vain"),
    (r"levels\.append_change", r"1 - position\['levels'\] -> 1 \+ .*", "levels counted too often are visited in vain"),
    (r".*", r"(state\.)?account(\[0\])?\['n_exits'\] -= 1 -> .*", "exits counted too often are looked for in vain"),
    (r"execution\.entry_price", r".* > 0 -> .* >= 0", "a price at the limit is the limit"),
    (r"exits\.(improve_stop|trailed_inside)", r"raw > 0\.0 -> raw >= 0\.0", "a price of 0 is 0 on the tick, and refused after it"),
    (
        r"volume\.take_volume",
        r"state\.rules\[0\]\['participation'\] < .*",
        "what is taken is read where a share of the volume limits alone",
    ),
    (
        r"splits\.restated(_volume)?",
        r"not state\.rules\[0\]\['splits'\] or (.*) -> not state\.rules\[0\]\['splits'\] and \1",
        "splits that are not there are looked for in vain",
    ),
    (r"coast\.coast", r"account\['n_held'\] != 1 -> account\['n_held'\] != 0", "bars that are met one by one are only met more slowly"),
    (r"coast\.coast", r"levels and (moved_by_bar.*) -> levels or \1", "bars that are met one by one are only met more slowly"),
    (
        r"coast\.coast",
        r"now > tape\.grid\[k\] -> now >= .*|current != last and (.*) -> current != last or \1",
        "bars that are met one by one are only met more slowly",
    ),
    (
        r"coast\.coast",
        r"row >= rough -> row > rough|ahead > FEW -> ahead >= FEW|row \+ MANY -> row - MANY",
        "where looking at many bars begins to pay is no rule",
    ),
    (
        r"coast\.bars_ahead",
        r"row \+ min\(.*\) -> row - .*|.* else 0 -> .* else 1",
        "bars that are met one by one are only met more slowly",
    ),
    (
        r"coast\.(glide|between)",
        r"(if |)position\['side'\] > 0(:|) -> .*|\(.*, True\) -> \(.*, False\)",
        "bars that are met one by one are only met more slowly",
    ),
    (r"coast\.glide", r"0 < base \+ at_mark < MONEY_LIMIT -> 1 < .*", "bars that are met one by one are only met more slowly"),
    (r"coast\.coast", r"k \+ 1 -> k \+ 0", "a sample that is taken again is the same"),
    (
        r"coast\.coast",
        r"row > position\['row'\] -> row >= .*|tape\.open_ts\[row\] > account\['now'\] -> .* >= .*",
        "an open that was met is met again",
    ),
    (
        r"coast\.moved_by_bar",
        r"not plain and (.*) and (.*) -> not plain or \1 or \2",
        "bars that are met one by one are only met more slowly",
    ),
    (r"coast\.coast", r"equity <= 0 -> equity <= 1", "bars that are met one by one are only met more slowly"),
    (
        r"coast\.quiet_until",
        r"min\(until, last_sample\(tape, state\)\) \+ 1 -> .*( - 1| \+ 0)",
        "bars that are met one by one are only met more slowly",
    ),
    (
        r"coast\.alerts",
        r"base - equity -> .*|peak - equity -> .*|watch\['(daily_loss|drawdown)'\] \* \w+ -> .*|base - equity >= .* and .* -> .* or .*",
        "a sample that is looked at in full for nothing",
    ),
    (r"coast\.alerts", r"now >= watch\['resume_at'\] -> now > .*", "the peak starts again from the sample before"),
    (r"coast\.coast", r"watch\['(daily_loss|drawdown)'\] < np\.inf -> .* <= np\.inf", "a halt that never starts is looked for in vain"),
    (
        r"crowd\.\w+",
        r"leg_of\(proposals, (state\.ranked\[rank\])\) > 0 -> leg_of\(proposals, \1\) >= 0",
        "a row without a leg has none beside it",
    ),
    (r"crowd\.choose_unit", r"0 if going else (.*) -> 1 if going else \1", "what a decision wants that is not to be is not looked at"),
    (r"crowd\.count_unit", r"-NEVER -> NEVER", "nothing happens at either"),
    (r"crowd\.count_unit", r"by > 0 -> by >= 0", "counted by 1 or -1"),
    (r"crowd\.rescore", r"state\.rules\[0\]\['rotate_margin'\] < np\.inf -> .* <= np\.inf", "a key that nothing asks for"),
    (r"crowd\.weakest", r"margin < np\.inf -> margin <= np\.inf", "no key is better by infinity"),
    (r"crowd\.leg_of", r"len\(proposals\.leg\) > 0 -> .* > 1", "the leg of the only proposal is a decision by itself"),
    (
        r"crowd\.drop_broken_legs",
        r"leg_of\(proposals, i\) <= 0 -> leg_of\(proposals, i\) < 0",
        "a row without a leg has none beside it to drop",
    ),
    (r"exits\.follow", r"tape\.rule_first\[symbol\] \+ 1 -> .*", "a level worked out anew from the same extreme is no better"),
    (r"execution\.attach_bracket", r"state\.rules\[0\]\['exit_model'\] == 0 -> .* == 1", "levels that nothing moves are followed in vain"),
    (r"execution\.attach_bracket", r"0 if still else 1 -> 1 if still else 1", "levels that nothing moves are followed in vain"),
    (
        r"liquidation\.(exit_inside|margined_paths)",
        r".*\['plain_exits'\] != 0 -> .*",
        "plain only spares a look at options that are at their defaults",
    ),
    (r"liquidation\.surely_safe", r"1e-06 .*|abs\(at_mark\) \+ abs\(left\) -> .*", "any slack beyond the rounding of money will do"),
    (
        r"liquidation\.(surely_safe|undersecured)",
        r"(left|equity\(state\)) > .* -> .* >= .*",
        "at the bound the price itself is worked out, or is not reached",
    ),
    (r"exits\.trailed_inside", r"side \* \(extreme - target\) > 0 -> .* >= 0", "an extreme at the target is the target"),
)
"""File and function as ``file.function``, the change, and why it changes nothing; the first two are regular expressions."""


def equivalence(file: str, function: str, change: str) -> str:
    """Why a mutant is the same as the original; empty if it is not.

    >>> equivalence("exits", "limit_met", "side > 0 -> side >= 0")
    'a side is +1 or -1, never 0'
    """
    where = f"{file}.{function}"
    return next((why for place, known, why in SAME if re.fullmatch(place, where) and re.fullmatch(known, change)), "")
