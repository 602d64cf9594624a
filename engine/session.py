"""Driving the replay: run to the end, or step by step with save and restore; both give the same bytes.  # R9.4"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import replay as loop
from engine.dataset import Dataset
from engine.schema import NEVER, Reason
from engine.settings import Settings
from engine.state import State, new_state
from engine.tape import Proposals, Tape, build_proposals, build_tape


class ReplayError(ValueError):
    """A run that cannot go on; the message names symbol, record and mend."""


@dataclass(frozen=True)
class ReplayResult:
    """What a replay leaves behind.

    Attributes
    ----------
    records
        The trades-level ledger, dtype ``engine.schema.RECORD``; ``seq`` is the index.
    sample_ts, equity
        Equity in money units at each sample time (us, UTC).  # R5.3
    outcomes
        Reason of each proposal that is counted and not stored; 0 elsewhere.  # R5.4
    symbols, strategies
        The names that the records' numbers stand for.
    """

    records: NDArray[Any]
    sample_ts: NDArray[np.int64]
    equity: NDArray[np.int64]
    outcomes: NDArray[np.uint8]
    symbols: tuple[str, ...]
    strategies: tuple[str, ...]
    settings: Settings
    proposals: Proposals
    tape: Tape

    @property
    def final_equity(self) -> int:
        """Money at the end, closing costs included."""
        return int(self.records["amount"][-1])

    @property
    def bankrupt(self) -> bool:
        """Whether the run ended in ruin."""
        return bool(self.records["reason"][-1] == Reason.BANKRUPT)


def replay(
    dataset: Dataset,
    proposals: Mapping[str, Any],
    settings: Settings,
    symbols: Sequence[str] = (),
    strategies: Sequence[str] = (),
    tape: Tape | None = None,
) -> ReplayResult:
    """Replay proposals against market data, to the end.

    Parameters
    ----------
    proposals
        Columns of ``engine.schema.PROPOSAL_COLUMNS``; ``symbol`` and ``strategy`` as names, or as codes into ``symbols`` and ``strategies``.
    tape
        ``build_tape(dataset, settings)``, where the caller replays many times.

    Raises
    ------
    DatasetError, ProposalError
        For input that does not fit the run.
    ReplayError
        If money overflows.
    """
    return Session(dataset, proposals, settings, symbols, strategies, tape).run()


class Session:
    """A replay that can be stepped, saved and restored.

    Notes
    -----
    The state is a handful of arrays; a saved session holds them and nothing else, so it is restored beside the same dataset, proposals
    and settings.
    """

    def __init__(
        self,
        dataset: Dataset,
        proposals: Mapping[str, Any],
        settings: Settings,
        symbols: Sequence[str] = (),
        strategies: Sequence[str] = (),
        tape: Tape | None = None,
    ) -> None:
        self.settings = settings
        self.symbols = tuple(sorted(instrument.symbol for instrument in settings.instruments))
        self.strategies = tuple(sorted(strategy.id for strategy in settings.strategies))
        self.tape = build_tape(dataset, settings) if tape is None else tape
        self.proposals = build_proposals(proposals, symbols, strategies, self.tape, settings)
        self.state: State = new_state(self.tape, self.proposals, settings)

    def advance(self, until: int = NEVER) -> bool:
        """Replay through the last instant at or before ``until`` (us, UTC); whether the run has ended."""
        while True:
            status = loop.replay(self.tape, self.proposals, self.state, until)
            if status == loop.OVERFLOW:
                raise self._overflow()
            if status != loop.FULL:
                return bool(status == loop.DONE)
            grown = np.empty(2 * len(self.state.ledger), self.state.ledger.dtype)
            grown[: len(self.state.ledger)] = self.state.ledger
            self.state = self.state.replace(ledger=grown)

    def step(self) -> bool:
        """Replay one instant; whether the run has ended."""
        if self.state.account[0]["seq"] == 0:
            return self.advance(-NEVER)
        return self.advance(int(loop.next_instant(self.tape, self.proposals, self.state)))

    def run(self) -> ReplayResult:
        """Replay to the end."""
        self.advance()
        n = int(self.state.account[0]["seq"])
        return ReplayResult(
            records=self.state.ledger[:n],
            sample_ts=self.tape.grid,
            equity=self.state.equity,
            outcomes=self.state.outcomes,
            symbols=self.symbols,
            strategies=self.strategies,
            settings=self.settings,
            proposals=self.proposals,
            tape=self.tape,
        )

    def save(self, path: Path) -> None:
        """Write the state to a file, without pickle."""
        used = int(self.state.account[0]["seq"])
        arrays = self.state.arrays() | {"ledger": self.state.ledger[:used]}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def restore(self, path: Path) -> None:
        """Take up a saved state; the session must have been made from the same dataset, proposals and settings.

        Raises
        ------
        ReplayError
            If the saved arrays do not fit this session.
        """
        with np.load(path, allow_pickle=False) as saved:
            for name, array in self.state.arrays().items():
                if name != "ledger" and (name not in saved or saved[name].shape != array.shape or saved[name].dtype != array.dtype):
                    raise ReplayError(
                        f"{path}: {name} does not fit this run; restore beside the dataset, proposals and settings it was saved from"
                    )
            if any(str(saved[name].tolist()) != str(getattr(self.state, name).tolist()) for name in ("rules", "desks")):
                raise ReplayError(f"{path}: it was saved under other settings; restore beside those it was saved from")
            ledger = np.empty(len(saved["ledger"]) + len(self.state.ledger), self.state.ledger.dtype)
            ledger[: len(saved["ledger"])] = saved["ledger"]
            self.state = State(**{name: saved[name] for name in State.columns if name != "ledger"}, ledger=ledger)

    def _overflow(self) -> ReplayError:
        account = self.state.account[0]
        symbol = self.symbols[int(account["overflow"])]
        return ReplayError(
            f"money of {symbol} overflows 2^53 units at ledger record {int(account['seq'])}; "
            f"use fewer account decimals than {self.settings.decimals}, or smaller sizes"
        )
