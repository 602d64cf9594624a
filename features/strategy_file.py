"""Strategies in Python files: found by path, made with their parameters, asked for their features and rules."""

import hashlib
import importlib.util
import inspect
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.causality import CausalityError
from features.rules import RuleError, nearest


class StrategyError(ValueError):
    """A strategy that cannot be built."""


def load(path: str, params: Mapping[str, Any], where: str = "strategy") -> tuple[Any, Any]:
    """Features and rules of a Python file: of its one class with ``features`` and ``propose``, given ``params``.

    Raises
    ------
    StrategyError
        If the file has no such class or more than one, does not take the parameters, or fails.
    """
    classes = _strategy_classes(path, where)
    if len(classes) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise StrategyError(f"{where}: {path} must define one class with features() and propose(); found {found}")
    accepted = inspect.signature(classes[0]).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for key in params:
        if key not in accepted and not anything:
            raise StrategyError(
                f"{where}: {classes[0].__name__} has no parameter {key!r}; {nearest(key, accepted) if accepted else 'it takes none'}"
            )
    missing = [
        name
        for name, p in accepted.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and name not in params
    ]
    if missing:
        raise StrategyError(f"{where}: {classes[0].__name__} needs params {', '.join(missing)}")
    try:
        strategy = classes[0](**params)
        return strategy.features(), strategy.propose()
    except (RuleError, CausalityError):
        raise
    except (Exception, SystemExit) as error:  # a file may not end the program
        raise StrategyError(f"{where}: {path}{_line(error, path)} with params {dict(params)!r}: {type(error).__name__}: {error}") from error


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
    return [kind for kind in found if callable(getattr(kind, "features", None)) and callable(getattr(kind, "propose", None))]
