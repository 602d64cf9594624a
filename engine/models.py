"""A user's own models: compiled functions of numbers that the replay calls by address.

A model is a pure function of what its order may know at that event (R2.8): it is given numbers and never a table, so it cannot see the future.
The kernel holds the addresses of the models, so a run with models and one without share the same compiled
code: nothing of the kernel is compiled again for a new model.

============  ==============================================================  ===================================================
kind          is asked                                                        and returns
============  ==============================================================  ===================================================
``fee``       for each fill                                                   fee in account currency
``slippage``  for each fill of a taker                                        fraction of the price, paid beyond the half-spread
``fill``      for each fill of a taker                                        its price, before the tick
``exit``      at each close of a held bar                                     stop level from now on; NaN leaves it
``selector``  for each entry that nothing else drops                          what it is ranked by; NaN drops it
``size``      for each entry that got a slot                                  its quantity; NaN refuses it
============  ==============================================================  ===================================================

``PARAMETERS`` names what each is told, ``Candidate`` and ``Selected`` are the records of the last two, and ``docs/models.md`` says what the names mean.
``key`` is an int64 made of the run's seed and the event; ``draw(key, n)`` turns it into random numbers, the n-th of which never depends
on what else was drawn (R9.2).
"""

import ast
import hashlib
import importlib.util
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, cast

from numba.core import types

from engine.model_call import compile_function, draw, record_type
from engine.model_sources import called, digest, drawn, own_digest, values

__all__ = ["PARAMETERS", "RECORDS", "Candidate", "Model", "ModelError", "ModelKind", "Selected", "compile_model", "draw", "load_model"]


class ModelError(ValueError):
    """A model that cannot be used; the message names file, function, rule and mend."""


class ModelKind(IntEnum):
    """What a model decides."""

    FEE = 0
    SLIPPAGE = 1
    FILL = 2
    EXIT = 3
    SELECTOR = 4
    SIZE = 5


PARAMETERS: dict[ModelKind, tuple[str, ...]] = {
    ModelKind.FEE: ("notional", "qty", "maker"),
    ModelKind.SLIPPAGE: ("price", "qty", "volume", "half_spread", "side", "key"),
    ModelKind.FILL: ("price", "qty", "volume", "half_spread", "side", "key"),
    ModelKind.EXIT: ("entry_price", "high", "low", "close", "stop", "target", "bars", "side", "key"),
    ModelKind.SELECTOR: ("entry",),
    ModelKind.SIZE: ("entry",),
}
"""Names of the arguments: float64, but for ``key``, which is int64, and ``entry``, a record of ``RECORDS``; the result is float64."""


class Candidate(NamedTuple):
    """An entry that asks for a slot, as the user's selector sees it; NaN where there is no such column."""

    score: float
    side: float  # +1 long, -1 short
    close: float  # last one
    volume: float  # of the last closed bar
    weight: float
    volatility: float
    win_probability: float
    payoff: float
    equity: float  # account currency
    free_cash: float  # account currency
    held: float  # signed quantity of its strategy in its symbol
    positions: float  # how many are held
    of_strategy: float  # how many of them are its strategy's
    of_symbol: float  # how many of them are in its symbol
    free_slots: float  # infinite without selector.max_positions
    ts: int  # us, UTC
    symbol: int  # place among the run's symbols, by name
    strategy: int  # place among its strategies, by id
    key: int  # for draw


class Selected(NamedTuple):
    """An entry that got a slot, as the user's size model sees it; NaN where there is no such column."""

    capital: float  # budget x equity, account currency
    free_cash: float  # with what a position that leaves for the entry frees, account currency
    reference: float  # price: the limit, else the trigger, else the last close
    distance: float  # price: from the reference to the stop, negative on the wrong side, NaN without one
    worth: float  # account currency that one unit of quantity stands for at the reference
    loss: float  # account currency that one unit loses from the reference to the stop; NaN without one on its side
    side: float  # +1 long, -1 short
    score: float
    amount: float  # number of the strategy's size in the config
    weight: float
    volatility: float
    win_probability: float
    payoff: float
    held: float  # signed quantity of its strategy in its symbol
    positions: float  # how many are held
    rank: float  # 1: the best of the instant
    ts: int  # us, UTC
    symbol: int  # place among the run's symbols, by name
    strategy: int  # place among its strategies, by id
    key: int  # for draw


RECORDS: dict[ModelKind, type[NamedTuple]] = {ModelKind.SELECTOR: Candidate, ModelKind.SIZE: Selected}
"""What ``entry`` is."""


@dataclass(frozen=True)
class Model:
    """One function of the user's, compiled.

    Attributes
    ----------
    name
        ``file.py:function``, for messages.
    source_hash
        SHA-256 of the function's file, and of the files and constants it refers to; part of the run's identity.    # R9.3
    function
        The same in plain Python.
    address
        Of the compiled function, in this process.
    """

    kind: ModelKind
    name: str
    source_hash: str
    function: Callable[..., float] = field(repr=False, compare=False)
    address: int = field(repr=False, compare=False)


def load_model(kind: ModelKind, path: Path, name: str) -> Model:
    """Read a function from a Python file and compile it.

    Raises
    ------
    ModelError
        If the file cannot be run, has no such function, or the function has other parameters than ``PARAMETERS`` says, raises, draws random
        numbers of its own, or does not compile to a function that returns a float.
    """
    source = path.read_bytes() if path.is_file() else None
    if source is None:
        raise ModelError(f"{path}: no such file; a model is FILE.py:FUNCTION")
    digest = hashlib.sha256(source).hexdigest()
    spec = importlib.util.spec_from_file_location(f"tapeline_model_{digest[:16]}", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path}: not a Python file; a model is FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        functions = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise ModelError(f"{path} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    return compile_model(kind, found, f"{path.name}:{name}", digest)


def compile_model(kind: ModelKind, function: Callable[..., Any], name: str = "", source_hash: str = "") -> Model:
    """Compile a function of the user's, jitted or plain, for a kind of model.

    Raises
    ------
    ModelError
        As ``load_model``.
    """
    function = getattr(function, "py_func", function)
    name = name or getattr(function, "__qualname__", repr(function))
    _check(kind, function, name)
    plain = cast("FunctionType", function)
    _check_draws(kind, plain, name)
    try:
        address = compile_function(function, _types(kind))
    except Exception as error:  # numba has many
        raise ModelError(f"{name} does not compile as a {kind.name.lower()} model {_form(kind)}: {_said(error)}") from error
    return Model(kind, name, _identity(plain, source_hash), function, address)


def _check(kind: ModelKind, function: Callable[..., Any], name: str) -> None:
    if not inspect.isfunction(function):
        raise ModelError(f"{name} is not a function; a {kind.name.lower()} model is one: {_form(kind)}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ModelError(
            f"{name} is async, or yields; a {kind.name.lower()} model is a plain function that returns a number: {_form(kind)}"
        )
    given = inspect.signature(function).parameters
    if tuple(given) != PARAMETERS[kind] or any(one.kind != one.POSITIONAL_OR_KEYWORD for one in given.values()):
        shown = inspect.Signature([one.replace(annotation=one.empty) for one in given.values()])
        raise ModelError(f"{name} takes {shown}; a {kind.name.lower()} model is {_form(kind)}")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return
    for node in ast.walk(tree):
        if kind in RECORDS and isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "entry":
            _check_field(kind, node.attr, f"{name} line {node.lineno}")
            if not isinstance(node.ctx, ast.Load):
                raise ModelError(
                    f"{name} line {node.lineno}: a model cannot write to its entry; give the value a name of its own: {node.attr} = ..."
                )
        if isinstance(node, ast.Raise | ast.Assert):
            raise ModelError(f"{name} line {node.lineno}: a model cannot raise or assert inside the replay; return NaN, or a safe value")


def _check_field(kind: ModelKind, field: str, where: str) -> None:
    """Refuse a name that the record does not have."""
    fields = RECORDS[kind]._fields
    if field in fields:
        return
    near = get_close_matches(field, fields, 1)
    raise ModelError(f"{where}: the entry of a {kind.name.lower()} model has no {field!r}; {_near(near)}it has {', '.join(fields)}")


def _near(names: list[str]) -> str:
    return f"perhaps {names[0]!r}; " if names else ""


def _types(kind: ModelKind) -> tuple[Any, ...]:
    """Numba's types of the arguments of a kind."""
    if kind in RECORDS:
        return (record_type(RECORDS[kind]),)
    return tuple(types.int64 if name == "key" else types.float64 for name in PARAMETERS[kind])


def _said(error: Exception) -> str:
    """The first line of a compiler's error that names a cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Failed in")), type(error).__name__)


def _form(kind: ModelKind) -> str:
    return f"{kind.name.lower()}({', '.join(PARAMETERS[kind])}) -> float"


def _identity(function: FunctionType, source_hash: str) -> str:
    """Hash of a model's file, or of its own source, with the files of the functions it calls and the constants it reads elsewhere."""
    own, every = source_hash or own_digest(function), called(function)
    sources = {digest(one) for one in (every if source_hash else every[1:])} - {own}
    constants = {text for one in every for text in (f"{name} = {value}" for name, value in values(one).items())}
    if not sources and not constants:
        return own
    return hashlib.sha256("\n".join((own, *sorted(sources), *sorted(constants))).encode()).hexdigest()


def _check_draws(kind: ModelKind, function: FunctionType, name: str) -> None:
    """Refuse random numbers that do not follow from the run's seed, here and in what is called.  # R9.2"""
    for one in called(function):
        if found := drawn(one):
            by = "" if one is function else f" by way of {one.__name__}"
            mend = "draw(key, n) of engine.models gives random numbers that follow from the seed"
            keyed = "key" in PARAMETERS[kind] or kind in RECORDS
            raise ModelError(
                f"{name} refers to {found}{by}: a model's own random numbers would give one run id many results; "
                + (f"{mend} (docs/models.md)" if keyed else f"{mend}, but a {kind.name.lower()} model has no key: let it be fixed")
            )
