"""Calling a user's model from compiled code, and random numbers that depend on nothing but a key.

Compiled code gets a function as an address and calls it there, so it is the same code for every model.  In plain Python the address is
looked up.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from engine.kernel import entry, pointer

_WORD = 2**64 - 1

_kept: dict[int, tuple[Any, Callable[..., float]]] = {}  # compiled functions, which live as long as the process, and what they were made of


def compile_function(function: Callable[..., float], arguments: tuple[Any, ...]) -> int:
    """Compile a function of arguments of numba's types that returns a float64, and keep it alive; its address.

    Where nothing is compiled, the address is a number that ``call`` and ``ask`` look up.
    """
    compiled = pointer(function, types.float64(*arguments))
    address: int = -len(_kept) - 1 if compiled is None else compiled.address
    _kept[address] = compiled, function
    return address


@cache
def record_type(record: type) -> Any:
    """Numba's type of a NamedTuple whose fields are annotated ``float`` or ``int``: float64 and int64."""
    return types.NamedTuple([types.int64 if hint is int else types.float64 for hint in record.__annotations__.values()], record)


def call(address: int, arguments: Any) -> float:
    """Call a model by its address with a tuple of its arguments."""
    return float(_kept[address][1](*arguments))


def ask(address: int, record: Any) -> float:
    """Call a model by its address with one record (a NamedTuple), whose values become what its fields are annotated as."""
    kind = type(record)
    return float(_kept[address][1](kind(*(hint(value) for hint, value in zip(kind.__annotations__.values(), record, strict=True)))))


@intrinsic
def _ask(context: Any, address: Any, record: Any) -> Any:
    wanted = record_type(record.instance_class)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = signature.args[1]
        values = [context.cast(builder, builder.extract_value(args[1], i), given[i], wanted[i]) for i in range(len(given))]
        told = context.make_tuple(builder, wanted, values)
        form = ir.FunctionType(ir.DoubleType(), [told.type])
        return builder.call(builder.inttoptr(args[0], form.as_pointer()), [told])

    return types.float64(types.int64, record), generate


@overload(ask)
def _compiled_ask(address: Any, record: Any) -> Any:
    def compiled(address: Any, record: Any) -> float:
        return _ask(address, record)  # type: ignore[call-arg,no-any-return]

    return compiled


@entry
def answer(address: int, record: Any) -> float:
    """What a model answers to one record outside of a replay: by the code that the replay calls, since Python divides by zero otherwise."""
    return ask(address, record)


@entry
def charge(address: int, notional: float, qty: float, maker: float) -> float:
    """What a fee model charges outside of a replay, by the code that the replay calls."""
    return call(address, (notional, qty, maker))


@intrinsic
def _call(context: Any, address: Any, arguments: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [builder.extract_value(args[1], i) for i in range(len(signature.args[1]))]
        form = ir.FunctionType(ir.DoubleType(), [value.type for value in values])
        return builder.call(builder.inttoptr(args[0], form.as_pointer()), values)

    return types.float64(types.int64, arguments), generate


@overload(call)
def _compiled_call(address: Any, arguments: Any) -> Any:
    def compiled(address: Any, arguments: Any) -> float:
        return _call(address, arguments)  # type: ignore[call-arg,no-any-return]

    return compiled


def name_key(name: str) -> int:
    """Number of a symbol or a strategy in keys: of its name, whatever else is in the run; in [0, 2**63).  # R9.2

    >>> name_key("BTCUSDT") == name_key("BTCUSDT"), name_key("BTCUSDT") == name_key("ETHUSDT")
    (True, False)
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def event_key(seed: int, ts: int, symbol: int, strategy: int) -> int:
    """Key of what happens to one (symbol, strategy), numbers of ``name_key``, at one time; for counter-based draws; in [0, 2**63).  # R9.2"""
    return _mix(_mix(_mix(_mix(int(seed)) ^ int(ts)) ^ int(symbol)) ^ int(strategy)) >> 1


def draw(key: int, n: int) -> float:
    """The ``n``-th random number of a key, uniform in [0, 1).  # R9.2

    >>> draw(7, 0) == draw(7, 0), draw(7, 0) == draw(7, 1), 0 <= draw(8, 3) < 1
    (True, False, True)
    """
    return (_mix(_mix(key) ^ n) >> 11) / 9007199254740992.0


_WORD = 2**64 - 1


def _mix(x: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)


@entry
def _mix_words(x: Any) -> Any:
    x = np.uint64(x) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@overload(event_key)
def _compiled_event_key(seed: Any, ts: Any, symbol: Any, strategy: Any) -> Any:
    def compiled(seed: Any, ts: Any, symbol: Any, strategy: Any) -> int:
        mixed = _mix_words(_mix_words(np.uint64(seed)) ^ np.uint64(ts))
        mixed = _mix_words(mixed ^ np.uint64(symbol))
        return np.int64(_mix_words(mixed ^ np.uint64(strategy)) >> np.uint64(1))  # type: ignore[return-value]

    return compiled


@overload(draw)
def _compiled_draw(key: Any, n: Any) -> Any:
    def compiled(key: Any, n: Any) -> float:
        return np.float64(_mix_words(_mix_words(np.uint64(key)) ^ np.uint64(n)) >> np.uint64(11)) / 9007199254740992.0

    return compiled
