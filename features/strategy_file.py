"""Strategies in Python files: found by path, made with their parameters, asked for their features and rules."""

import hashlib
import importlib.util
import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from features.causality import CausalityError
from features.rules import RuleError, nearest

T = TypeVar("T")


class StrategyError(ValueError):
    """A strategy that cannot be built."""


def load(path: str, params: Mapping[str, Any], where: str = "strategy") -> tuple[Any, Any]:
    """Features and rules of a Python file: of its one class with ``features`` and ``propose``, given ``params``.

    Raises
    ------
    StrategyError
        If the file has no such class or more than one, does not take the parameters, or fails.
    """
    kind = _strategy_class(path, where)
    if _by_event(kind):
        raise StrategyError(f"{where}: {path}: {kind.__name__} decides event by event, so it has no features to compute")

    def ask() -> tuple[Any, Any]:
        strategy = kind(**params)
        return strategy.features(), strategy.propose()

    return _asked(ask, kind, path, params, where)


def decides_by_event(path: str, where: str = "strategy") -> bool:
    """Whether the strategy class of a Python file has ``on_event``, and so runs inside the replay.

    Raises
    ------
    StrategyError
        If the file has no strategy class or more than one, or fails.
    """
    return _by_event(_strategy_class(path, where))


def load_by_event(path: str, params: Mapping[str, Any], where: str = "strategy") -> Any:
    """The strategy of a Python file whose class has ``on_event``, made with ``params``.

    Raises
    ------
    StrategyError
        If it does not take the parameters, or fails.
    """
    kind = _strategy_class(path, where)
    return _asked(lambda: kind(**params), kind, path, params, where)


def _asked(ask: Callable[[], T], kind: type, path: str, params: Mapping[str, Any], where: str) -> T:
    """What a class gives when made with its parameters, which are checked first."""
    accepted = inspect.signature(kind).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for key in params:
        if key not in accepted and not anything:
            raise StrategyError(
                f"{where}: {kind.__name__} has no parameter {key!r}; {nearest(key, accepted) if accepted else 'it takes none'}"
            )
    missing = [
        name
        for name, p in accepted.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and name not in params
    ]
    if missing:
        raise StrategyError(f"{where}: {kind.__name__} needs params {', '.join(missing)}")
    try:
        return ask()
    except (RuleError, CausalityError):
        raise
    except (Exception, SystemExit) as error:  # a file may not end the program
        raise StrategyError(f"{where}: {path}{_line(error, path)} with params {dict(params)!r}: {type(error).__name__}: {error}") from error


def _by_event(kind: type) -> bool:
    return callable(getattr(kind, "on_event", None))


def _strategy_class(path: str, where: str) -> type:
    classes = _strategy_classes(path, where)
    if len(classes) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise StrategyError(f"{where}: {path} must define one class with features() and propose(), or one with on_event(); found {found}")
    return classes[0]


def _line(error: BaseException, path: str) -> str:
    """The last line of the file that an error passed."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f" line {lines[-1]}" if lines else ""


def _strategy_classes(path: str, where: str) -> list[type]:
    if not Path(path).is_file():
        raise StrategyError(f"{where}: no file {path}")
    name = f"tapeline_strategy_{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{where}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{where}: {path}{_line(error, path)} cannot be run: {type(error).__name__}: {error}") from error
    found = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == name]
    return [kind for kind in found if _by_event(kind) or all(callable(getattr(kind, name, None)) for name in ("features", "propose"))]
