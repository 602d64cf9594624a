"""``tapeline certify``: the proof, made ahead of a run, that no feature of a config sees the future."""

from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.progress import Progress


def certify_config(config: RunConfig, store: Path | None, progress: Progress) -> dict[str, Any]:
    """Certify the features of a config on its dataset, and keep the certificates in ``store``.

    Raises
    ------
    CausalityError
        If a feature sees the future: names it, the symbol, the cut and the first row that moved.
    ConfigError
        If no strategy of the config has features.
    """
    from features.compute import certify
    from pipeline import build

    specs = build.strategies_of(config)
    if not specs:
        raise ConfigError("strategies: all bring proposals of their own, or decide event by event; there are no features to certify")
    progress("dataset")
    dataset = build.dataset_of(config)
    settings = build.settings_of(config, dataset)
    symbols = [instrument.symbol for instrument in settings.instruments]
    certificates = certify(dataset, specs, symbols, interval=settings.interval, store=store, progress=progress)
    return {
        "dataset_id": dataset.id,
        "strategies": len(specs),
        "features": len(certificates),
        "symbols": len(symbols),
        "cuts": sum(len(rows) for certificate in certificates for rows in certificate.cuts.values()),
        "poisons": list(dict.fromkeys(poison for certificate in certificates for poison in certificate.poisons)),
    }
