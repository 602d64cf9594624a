"""The small market and its run, made once."""

import pytest

from engine.dataset import Dataset
from pipeline import demo
from pipeline.launch import run
from pipeline.result import Result
from tests.pipeline.small import MARKET, config


@pytest.fixture(scope="session")
def market() -> Dataset:
    return demo.build(MARKET)


@pytest.fixture(scope="session")
def result(market: Dataset) -> Result:
    return run(config(), dataset=market)
