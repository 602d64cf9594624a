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
    (
        r"exits\.level_price|terms\.price_on_tick",
        r"0\.0 < price < np\.inf -> 0\.0 <= .*",
        "a price of 0 is 0 on the tick, and refused after it",
    ),
    (r"exits\.watches", r"spec\['tier_first'\] < .* -> .* <= spec\['tier_stop'\]", "a position watched in vain only takes time"),
    (r"exits\.follow", r"position\['level_row'\] < row -> .* <= row", "the bar that opens has not closed"),
    (r"liquidation\.price_of", r"lots > 0 -> lots >= 0", "a stake of no lots has no price whatever its side"),
    (r"liquidation\.heaviest", r"range\(1, .* -> range\(0, .*", "the first is no heavier than itself"),
    (r".*", r"(state\.)?account(\[0\])?\['n_levels'\] -= .* -> .*", "levels counted too often are visited in vain"),
    (r"levels\.append_change", r"1 - position\['levels'\] -> 1 \+ .*", "levels counted too often are visited in vain"),
    (r"prices\.entry_price", r".* > 0 -> .* >= 0", "a price at the limit is the limit"),
    (r"bars\.open_bars", r"position\['exit_id'\] == 0 -> .* == 1", "the first order of all is an entry; a position is visited in vain"),
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
    (r"coast\.coast", r"levels and (moved_by_bar.*) -> levels or \1", "bars that are met one by one are only met more slowly"),
    (
        r"coast\.coast",
        r"now > tape\.grid\[k\] -> now >= .*|current != last and (.*) -> current != last or \1",
        "bars that are met one by one are only met more slowly",
    ),
    (
        r"coast\.coast",
        (
            r"row >= rough -> row > rough|ahead > FEW -> ahead >= FEW|row \+ MANY -> row - MANY"
            r"|(.*) if ahead > FEW else 0 -> \1 if not ahead > FEW else 0|quiet > 0 -> quiet > 1|quiet < ahead -> quiet <= ahead"
        ),
        "where looking at many bars begins to pay is no rule",
    ),
    (
        r"coast\.bars_ahead",
        r"row \+ min\(.*\) -> row - .*|.* else 0 -> .* else 1",
        "bars that are met one by one are only met more slowly",
    ),
    (
        r"coast\.(glide|bars_between|is_between)",
        r"\(.*, True\) -> \(.*, False\)|.* <= under -> .*|.* >= over -> .*|passed = n if inside else 0 -> .*|passed \+= 1 -> passed -= 1",
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
        r"liquidation\.surely_safe",
        r".* \* \(1\.0 - ROUNDING\) -> .* / .*|1\.0 - ROUNDING -> 1\.0 \+ ROUNDING|abs\(at_mark\) \* \(.*\) -> abs\(at_mark\) / .*",
        "any slack beyond the rounding of money will do, and rates are at most 1",
    ),
    (
        r"liquidation\.(surely_safe|undersecured)",
        r"(\(backing \+ at_mark\) \* \(1\.0 - ROUNDING\)|equity\(state\)) > .* -> .* >= .*",
        "at the bound the price itself is worked out, or is not reached",
    ),
    (r"growth\.lots_that_fit", r"entry_price\((.*), 0\) -> entry_price\(\1, 1\)", "whether its bar is ambiguous is nothing to a price"),
    (r"resting\.meet_open", r"side \* \(price - order\['limit'\]\) > 0 -> .* >= 0", "a price at the limit is the limit"),
    (r"resting\.promised_lots", r"return 0 -> return 1", "what is promised is looked at only where volume is short"),
    (
        r"resting\.promised_lots",
        r"position\['lots'\] != 0 and .* -> .* or .*",
        "no lots promise none, no levels are none to reach, and all positions of a symbol are in the bar that ends",
    ),
    (r"terms\.next_row", r"row \+ LOOK_AHEAD -> .*", "a bar visited in vain only takes time"),
    (r"orders\.order_lots", r"position\['lots'\] \* order\['side'\] < 0 -> .*", "what is not held adds nothing"),
    (r"orders\.time_position", r"position\['exit_id'\] != 0 -> .* != 1", "the first order of all is an entry; an open is visited in vain"),
    (
        r"life\.update_universe",
        r"len\(tape\.universe_ts\) == 0 -> .* == 1",
        "nothing is held before a first row, so one row lets nothing leave",
    ),
    (r"life\.leaves_universe", r"at >= first -> at > first", "nothing is held before a first row"),
    (r"exits\.trailed_inside", r"side \* \(extreme - target\) > 0 -> .* >= 0", "an extreme at the target is the target"),
    (r"risk\.(sized|limited)", r"\(0, (Reason\..*)\) -> \(1, \1\)", "the lots of what is refused are not looked at"),
    (r"risk\.sized", r"desk\['size'\] > SizeKind\.ALL_IN -> .* >= .*", "ALL_IN has been sized by then"),
    (r"risk\.value_room", r"\(.*\['group'\], 0\) -> .*", "each limit that holds counts anew"),
    (r"risk\.under", r"room < MONEY_LIMIT -> room <= MONEY_LIMIT", "values end at that limit, so all lots have room"),
    (r"risk\.gate", r"leg_of\(proposals, i\) > 0 -> .* >= 0", "what has no legs is judged as a decision of one leg is, only quicker"),
    (r"halts\.fill_samples", r"tape\.grid\[k\] < now -> .* <= now", "no sample lies before one of now"),
    (
        r"halts\.watch_drawdown",
        r"now < watch\['resume_at'\] -> now <= .*",
        "the next sample takes this one's equity for the peak, being the last",
    ),
    (r"halts\.read_new_records", r"symbol \* n_strategies \+ strategy -> .* - strategy", "another place for each, but one of its own"),
    (
        r"portfolio\.book_value",
        r"upkeep - position\['upkeep'\] -> upkeep \+ .*|int\(.*\) \+ 2 -> .* \+ 3",
        "a higher bound on maintenance only takes time",
    ),
    (r"portfolio\.hold", r"state\.held\[i - 1\] > slot -> .* >= slot", "a slot is held once"),
    (r"portfolio\.claim_slot", r"-NEVER -> NEVER", "no instant is at either end of time"),
    (r"conversion\.is_unrated", r"return True -> return (False|not True)", "the run stops all the same, with this error before any other"),
    (r"replay\.run", r".* < room -> .* <= room|.* -> (.*\b65 \+ 24 .*|25 \* .*|5 \* .*)", "more room than enough"),
    (r"replay\.run", r"visit - 1 -> visit - 0", "a quiet bar that ends at a visit has been marked and sampled by then either way"),
    (
        r"clocks\.next_instant",
        r"(looks|rules\['(tiered|liquidates)'\] != 0) and (.*) -> \1 or \3",
        "a sample of what it was is visited in vain",
    ),
    (
        r"replay\.observe",
        r"resting and (.*) -> resting or \1|account\['n_queue'\] > 0 -> .* >= 0",
        "without such entries the paths are the same",
    ),
    (r"replay\.observe", r"(.*) and (.*\['liquidates'\]) -> \1 or \2", "what has no tiers is never liquidated"),
    (r"replay\.observe", r"account\['n_levels'\] > 0 -> .* >= 0", "where nothing has levels, all are visited in vain"),
    (r"replay\.decide", r"(n_selected|batch) > 0 -> \1 >= 0", "none are selected of none, and none judged"),
    (r"clocks\.time_all", r"len\(tape\.funding_ts\) > 0 -> .* >= 0", "a time that nobody looks at"),
    (r"settlement\.next_settling", r"symbol < (.*) -> symbol <= \1", "what has settled or ended does not again at this instant"),
    (r"interest\.time_debt", r"account\['cash'\] < 0 -> .* (<= 0|< 1)", "a midnight without debt is visited in vain"),
    (r"selector\.drop_group", r"if side_of\(.*\) > 0: -> if not .*", "that there are both sides is asked, not which is which"),
    (r".*", r"side_of\((.*)\) > 0 -> side_of\(\1\) >= 0", "a side is +1 or -1, never 0"),
    (r"selector\.rank_before", r"(.*) > (.*) -> \1 >= \2", "keys that are equal are looked at no more"),
    (r"selector\.rank_before", r"i < j -> i <= j", "no proposal is compared with itself"),
    (r"selector\.sort_by_rank", r"\(701, .*\) -> \(.*, 1\)", "any gaps sort, of which the last is 1"),
    (r"selector\.drop", r"start \+ 1 -> start \+ 0", "the first belongs with itself"),
    (r"selector\.select", r"n > 1 -> n (>= 1|> 0)", "one is sorted as it is"),
    (r"(decisions|bars)\..*", r".*\['n_(exits|levels)'\] > 0 -> .* >= 0", "positions are looked at in vain"),
    (r"decisions\.propose_exits", r"lots (<|>) 0 -> lots (<=|>=) 0", "no lots are told apart before"),
    (r"decisions\.propose_exits", r"lots < 0 -> lots < 1", "no lots are told apart before"),
    (r"decisions\.fill_entries", r"met = False -> met = True", "a queue without gaps is swept in vain"),
    (r"bars\.touch", r"\(Reason\.NONE, False\) -> .*", "without an exit there is nothing to mark"),
    (r"bars\.close_candles", r"(if )?position\['levels'\] and row & 7 == 0:? -> .*", "bars asked for early only make it faster"),
    (r"bars\.close_candles", r"row & 7.* -> .*|row \+ (8|15) -> .*", "bars asked for early only make it faster"),
    (r"bars\.close_candles", r"state.rules\[0\]\['resting'\] and .* -> .* or .*", "orders that expire are looked for in vain"),
    (r"bars\.close_candles", r"position\['symbol'\] > expiring -> .* >= .*", "orders that expire are looked for in vain"),
    (r"bars\.close_candles", r"expiring < NEVER -> .*", "orders that expire are looked for in vain"),
    (r"actions\.corporate_actions", r"len\(tape.universe_ts\) == 0 -> .* == 1", "before its only row nobody holds a symbol"),
    (r"actions\.split_level", r"level > 0\.0 -> level >= 0\.0", "a level at 0 is never reached"),
    (r"specs\.(specs|rules)_of", r"strict=True -> strict=False", "there are as many of the one as of the other"),
    (r"specs\.specs_of", r"dict\[str, Any\] -> .*", "the types of names are not evaluated"),
    (r"specs\.bounded", r".* < 0\.999 -> .* <= 0\.999", "any part less than the whole will do"),
    (r"proposals\._refuse_twins", r"table\['\w+'\]\[i\] -> table\['\w+'\]\[i \+ 1\]", "twins have it in common"),
    (r"proposals\._is_sorted", r"return True -> .*", "one row is sorted in vain"),
    (r"proposals\._is_sorted", r"(.*) \| (\(.*\) & ordered) -> \1 & \(\2\)", "what is sorted is sorted again, which keeps it"),
    (r"proposals\.build_proposals", r"table\['available_ts'\]\.min\(\) < (.*) -> .* <= \1", "what is known at the start is known then"),
    (r"proposals\.build_proposals", r"table\['available_ts'\]\.max\(\) > end -> .* >= end", "none is left out in vain"),
    (r"proposals\._codes", r"NDArray\[np\.int32\] -> .*", "the types of names are not evaluated"),
    (r"proposals\._last_closed", r"Ints \| None -> .*", "the types of names are not evaluated"),
    (r"proposals\._last_closed", r"given >= (.*) -> given > \1", "the same row is looked up in vain"),
    (r"targets\.missing_quantity", r"position\['lots'\] \* side > 0 -> .* >= 0", "no lots are no quantity"),
    (r"targets\.turned", r"wanted > 0\.0 -> wanted >= 0\.0", "nothing becomes no entry of either side"),
    (
        r"targets\.turned",
        r"has \* wanted -> has / wanted",
        "what is wanted of the other side is not nothing, and only the sign is asked for",
    ),
    (r"targets\.turned", r"more > 0\.0 -> more >= 0\.0", "what is neither more nor less by a lot is told apart before"),
    (r"targets\.turned", r"weight < 0\.0 -> weight <= 0\.0", "a weight of nothing is never without what it needs"),
)
"""File and function as ``file.function``, the change, and why it changes nothing; the first two are regular expressions."""


def equivalence(file: str, function: str, change: str) -> str:
    """Why a mutant is the same as the original; empty if it is not.

    >>> equivalence("exits", "limit_met", "side > 0 -> side >= 0")
    'a side is +1 or -1, never 0'
    """
    where = f"{file}.{function}"
    return next((why for place, known, why in SAME if re.fullmatch(place, where) and re.fullmatch(known, change)), "")
