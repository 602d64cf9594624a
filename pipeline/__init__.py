"""From a file to an answer: config, run, result, and the command line.

    import pipeline
    pipeline.run("configs/demo.yaml").summary["sharpe"]

Names are imported when they are first used, so that ``import pipeline`` costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import RunConfig
    from pipeline.configfile import load_config
    from pipeline.errors import ConfigError, RunError
    from pipeline.launch import run
    from pipeline.result import Result

__all__ = ["ConfigError", "Result", "RunConfig", "RunError", "load_config", "run"]

# Polars' allocator gives freed pages back after half a second, and touching new ones costs as much as a moving average: between runs they
# are kept for a minute, in large pages.  It is read when Polars is loaded; a setting of the user's stands.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:60000,thp:always")

_HOMES = {
    "ConfigError": "pipeline.errors",
    "Result": "pipeline.result",
    "RunConfig": "pipeline.config",
    "RunError": "pipeline.errors",
    "load_config": "pipeline.configfile",
    "run": "pipeline.launch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
