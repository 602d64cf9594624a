"""What a model of the user's is made of beyond its own file: the functions it calls and the values it reads by global names.

A model must answer the same to the same, or one run id would have many results.  So what it refers to is part of its identity, and what
draws random numbers of its own is refused.  Names are followed as the compiled code has them: ``costs.rate`` is looked up in ``costs``.
"""

import dis
import hashlib
import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

_PACKAGES = frozenset({"engine", "numba", "numpy"})  # known by SEMANTICS_VERSION, or by their own versions
_GENERATORS = random.Random, np.random.Generator, np.random.RandomState


class Reference(NamedTuple):
    """What a function names: ``np.random.normal``, and what is there."""

    name: str
    value: Any


def called(function: FunctionType) -> list[FunctionType]:
    """The function itself and the users' functions it calls, jitted or plain, however deep."""
    found = [function]
    for one in found:  # grows on the way
        for reference in references(one):
            found += [inner for inner in _functions(reference.value) if inner not in found]
    return found


def drawn(function: FunctionType) -> str:
    """The name by which a function refers to random numbers that no key gives; empty if it does not."""
    return next((reference.name for reference in references(function) if _is_random(reference.value)), "")


def values(function: FunctionType) -> dict[str, str]:
    """Numbers and text that a function reads from outside of itself, which the compiler takes as constants."""
    found = {reference.name: _written(reference.value) for reference in references(function)}
    return {name: text for name, text in found.items() if text}


def digest(function: FunctionType) -> str:
    """SHA-256 of the file a function is in; of its own source or code where there is none."""
    try:
        return hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()
    except OSError:
        return own_digest(function)


def own_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of a function's own source, of its code where that is not known."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except OSError:
        return hashlib.sha256(function.__code__.co_code).hexdigest()


def references(function: FunctionType) -> Iterator[Reference]:
    """All that a function's code, and the code inside it, names from outside of itself."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    known = function.__globals__ | {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    codes = list(_codes(function.__code__))
    names = {name for code in codes for name in code.co_names}
    for code in codes:
        for first, *rest in _chains(code):
            if first in known:
                yield from _followed(first, known[first], rest, names)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # named before it is assigned
        return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _chains(code: CodeType) -> Iterator[list[str]]:
    """Names with the attributes that follow them: ``np.random.normal`` as three."""
    chain: list[str] = []
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain.append(str(step.argval))
        elif step.opname != "EXTENDED_ARG":
            if chain:
                yield chain
            chain = [str(step.argval)] if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF") else []
    if chain:
        yield chain


def _followed(name: str, value: Any, attributes: list[str], names: set[str]) -> Iterator[Reference]:
    """What is met on the way along a chain; of a module that is given another name, all that the code may take from it."""
    yield Reference(name, value)
    for attribute in attributes:
        if not isinstance(value, ModuleType) or not hasattr(value, attribute):
            return
        name, value = f"{name}.{attribute}", getattr(value, attribute)
        yield Reference(name, value)
    if isinstance(value, ModuleType):
        yield from (Reference(f"{name}.{one}", getattr(value, one)) for one in sorted(names) if hasattr(value, one))


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions of Python behind a value: of a jitted one that which was compiled, of a tuple those in it."""
    if isinstance(value, tuple):
        for one in value:
            yield from _functions(one)
        return
    value = inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value
    if isinstance(value, FunctionType) and str(value.__module__).partition(".")[0] not in _PACKAGES:
        yield value


def _is_random(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return value is random or value.__name__.startswith("numpy.random")
    if isinstance(value, _GENERATORS) or isinstance(getattr(value, "__self__", None), _GENERATORS):
        return True  # a generator, or a method of one
    return callable(value) and str(getattr(value, "__module__", "")).startswith("numpy.random")


def _written(value: Any) -> str:
    """A constant as text, the same on every machine; empty of what is none."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        return f"({','.join(map(_written, value))})"
    return repr(value) if isinstance(value, bool | int | float | complex | str) else ""
