"""A user's own models: compiled functions of numbers that the replay calls by address.

A model is a pure function of what its order may know at that event (R2.8): it is given numbers and never a table, so it cannot see the future.
The kernel holds the addresses of the models, so a run with models and one without share the same compiled
code: nothing of the kernel is compiled again for a new model.

===========  =============================================================================================  =================================
kind         arguments                                                                                      returns
===========  =============================================================================================  =================================
``fee``      notional, qty, maker                                                                           fee in account currency
``slippage`` price, qty, volume, half_spread, side, key                                                     fraction of the price, paid beyond the half-spread
``fill``     price, qty, volume, half_spread, side, key                                                     taker price, before the tick
``exit``     entry_price, high, low, close, stop, target, bars, side, key                                   stop level from now on; NaN leaves it
===========  =============================================================================================  =================================

``side`` is +1 or -1 of the position (``exit``) or of the order (``fill``, ``slippage``), ``stop`` and ``target`` are NaN where there is none, ``volume`` is that of the last closed bar (0 where unknown), ``maker`` is 1 or 0.
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
from enum import IntEnum
from pathlib import Path
from typing import Any

from engine.model_call import compile_function, draw

__all__ = ["PARAMETERS", "Model", "ModelError", "ModelKind", "compile_model", "draw", "load_model"]


class ModelError(ValueError):
    """A model that cannot be used; the message names file, function, rule and mend."""


class ModelKind(IntEnum):
    """What a model decides."""

    FEE = 0
    SLIPPAGE = 1
    FILL = 2
    EXIT = 3


PARAMETERS: dict[ModelKind, tuple[str, ...]] = {
    ModelKind.FEE: ("notional", "qty", "maker"),
    ModelKind.SLIPPAGE: ("price", "qty", "volume", "half_spread", "side", "key"),
    ModelKind.FILL: ("price", "qty", "volume", "half_spread", "side", "key"),
    ModelKind.EXIT: ("entry_price", "high", "low", "close", "stop", "target", "bars", "side", "key"),
}
"""Names of the arguments: all float64 but ``key``, which is int64; the result is float64."""


@dataclass(frozen=True)
class Model:
    """One function of the user's, compiled.

    Attributes
    ----------
    name
        ``file.py:function``, for messages.
    source_hash
        SHA-256 of the function's file, part of the run's identity.                                        # R9.3
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
        If the file cannot be run, has no such function, or the function has other parameters than ``PARAMETERS`` says, raises, or does not
        compile to a function that returns a float.
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
    try:
        address = compile_function(function, tuple(name == "key" for name in PARAMETERS[kind]))
    except Exception as error:  # numba has many
        raise ModelError(f"{name} does not compile as a {kind.name.lower()} model {_form(kind)}: {_said(error)}") from error
    return Model(kind, name, source_hash or _hash(function), function, address)


def _check(kind: ModelKind, function: Callable[..., Any], name: str) -> None:
    if not inspect.isfunction(function):
        raise ModelError(f"{name} is not a function; a {kind.name.lower()} model is one: {_form(kind)}")
    given = tuple(inspect.signature(function).parameters)
    if given != PARAMETERS[kind]:
        raise ModelError(f"{name} takes ({', '.join(given)}); a {kind.name.lower()} model is {_form(kind)}")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.Assert):
            raise ModelError(f"{name} line {node.lineno}: a model cannot raise or assert inside the replay; return NaN, or a safe value")


def _said(error: Exception) -> str:
    """The first line of a compiler's error that names a cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Failed in")), type(error).__name__)


def _form(kind: ModelKind) -> str:
    return f"{kind.name.lower()}({', '.join(PARAMETERS[kind])}) -> float"


def _hash(function: Callable[..., Any]) -> str:
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except OSError:
        return hashlib.sha256(function.__code__.co_code).hexdigest()
