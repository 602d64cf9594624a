"""Corporate actions: splits, dividends and delistings.  # R8.1 R8.2 R8.4"""

from engine.schema import Reason, RecordKind
from tests.oracle.account import Account, Entry, Position
from tests.oracle.brackets import split_levels
from tests.oracle.contract import checked
from tests.oracle.events import Action
from tests.oracle.fills import close_lots
from tests.oracle.orders import split_prices
from tests.oracle.targets import close_refused


def corporate_action(account: Account, symbol: str, action: Action) -> None:
    """One action of a symbol, after the decisions of its instant and before the open."""
    {"split": split, "dividend": dividend, "delist": delist}[action.kind](account, symbol, action)


def split(account: Account, symbol: str, action: Action) -> None:
    """The market's prices, then pending entries in approval order, then positions.  # R8.1"""
    account.markets[symbol].split(account.now, action)
    for entry in [one for one in account.entries if one.proposal.symbol == symbol]:
        split_entry(account, entry, action)
    for position in account.in_order(symbol):
        split_position(account, position, action)


def split_entry(account: Account, entry: Entry, action: Action) -> None:
    """Its lots; what it reserves and counts for is money, and stays."""
    lots = abs(entry.lots) * action.num // action.den
    if lots == 0:
        account.cancel_entry(entry, Reason.BELOW_MIN_QTY)
        if entry.proposal.key in account.positions:
            close_refused(account, account.positions[entry.proposal.key])
        return
    entry.reference = action.price(entry.reference)
    if not split_prices(entry, action, account.now):
        account.cancel_entry(entry, Reason.INVALID)
        return
    entry.lots = entry.proposal.side * lots
    account.write(
        RecordKind.SPLIT,
        entry.proposal.key,
        order_id=entry.order_id,
        proposal=entry.proposal.row,
        side=entry.proposal.side,
        qty=lots,
        price=account.markets[entry.proposal.symbol].last_close,
        value=action.num / action.den,
        cause=entry.cause,
    )


def split_position(account: Account, position: Position, action: Action) -> None:
    """Whole lots of the new shares, the rest in cash.  # R8.1"""
    market = account.markets[position.key[0]]
    before = abs(position.lots) * action.num
    lots, rest = divmod(before, action.den)
    position.lots = position.side * checked(position.key[0], lots)
    position.revalue()
    split_levels(account, position, action, account.now, market.opened_ts)
    ratio, price = action.num / action.den, market.last_close
    cause = account.write(RecordKind.SPLIT, position.key, qty=lots, price=price, value=ratio, cause=position.seq)
    if not rest:
        split_exit(account, position, action)
        return
    cause = pay_rest(account, position, rest, rest / before if lots else 1.0, action.den, price, cause)
    if lots == 0 and position.exit is not None:
        account.cancel_exit(position, Reason.POSITION_CLOSED, cause, before // action.num)
    if lots == 0:
        account.cancel_rest(position, cause)
    split_exit(account, position, action)


def split_exit(account: Account, position: Position, action: Action) -> None:
    """A pending order to close some lots is for as many of the new ones; without a whole one it ends.  # R8.1"""
    order = position.exit
    if order is None or order.lots is None:
        return
    if order.lots * action.num // action.den == 0:
        account.cancel_exit(position, Reason.BELOW_MIN_QTY, order.seq)
    else:
        order.lots = order.lots * action.num // action.den


def pay_rest(account: Account, position: Position, rest: int, part: float, den: int, price: float, cause: int) -> int:
    """Close ``rest / den`` of a lot, which is ``part`` of the position, at the last close and without a fee; the seq of the record."""
    contract, symbol = position.contract, position.key[0]
    quantity = position.side * contract.quantity(rest) / den
    account.tell_rate(position.key)
    worth = checked(symbol, contract.value_of(quantity, price))
    released = position.cost if part == 1.0 else round(position.cost * part)
    position.cost -= released
    position.margin -= position.margin if part == 1.0 else round(position.margin * part)
    realised = worth - released if contract.spot else contract.in_account(worth - released)
    amount = worth if contract.spot else realised
    account.pay(symbol, amount)
    lots = abs(position.lots)
    if lots == 0:
        del account.positions[position.key]
    seq = account.write(
        RecordKind.CASH_IN_LIEU,
        position.key,
        side=-position.side,
        qty=rest,
        price=price,
        amount=amount,
        value=den,
        reason=Reason.CASH_IN_LIEU,
        cause=cause,
    )
    account.write(RecordKind.POSITION, position.key, qty=lots, amount=realised, cause=seq)
    return seq


def dividend(account: Account, symbol: str, action: Action) -> None:
    """What is paid for each unit held; a short pays it.  # R8.2"""
    for position in account.in_order(symbol):
        account.tell_rate(position.key)
        amount = position.contract.notional(position.lots, action.amount)
        account.pay(symbol, amount)
        qty = abs(position.lots)
        account.write(RecordKind.DIVIDEND, position.key, qty=qty, price=action.amount, amount=amount, cause=position.seq)


def delist(account: Account, symbol: str, action: Action) -> None:
    """No order of the symbol survives, no position either.  # R8.4"""
    account.cancel_entries(Reason.DELISTED, symbol=symbol)
    for position in account.in_order(symbol):
        last = account.markets[symbol].last_close
        price = last * (1 - position.side * account.settings.delist_haircut)
        close_lots(account, position, abs(position.lots), price, None, Reason.DELISTED)
