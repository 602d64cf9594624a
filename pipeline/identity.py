"""The name of a run: equal inputs have equal run ids, however they were written down and wherever they lie.  # R9.3"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from engine.schema import SEMANTICS_VERSION
from engine.settings import Settings
from pipeline.build import canonical
from pipeline.config import RunConfig
from pipeline.errors import ConfigError

LENGTH = 16


def run_id(config: RunConfig, settings: Settings, dataset_id: str, external: Mapping[str, str] | None = None) -> str:
    """Hash of the dataset, the canonical config, the semantics, the seed, and the sources of user files.

    Parameters
    ----------
    external
        Content hash of each external proposal table, by strategy.
    """
    content = {
        "dataset": dataset_id,
        "config": canonical(config, settings),
        "semantics": SEMANTICS_VERSION,
        "seed": config.seed,
        "sources": {strategy.id: source_hash(strategy.file) for strategy in config.strategies if strategy.file is not None},
        "models": sorted([model.kind.name, model.name, model.source_hash] for model in settings.models),
        "external": dict(external or {}),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def source_hash(path: str) -> str:
    """SHA-256 of a file.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
