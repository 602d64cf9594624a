"""Driving the replay: run to the end, or step by step with save and restore; both give the same bytes.  # R9.4"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engine import replay as loop
from engine.dataset import Dataset
from engine.schema import NEVER, SEMANTICS_VERSION, Reason
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
        self._dataset_id = dataset.id
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
            if status == loop.UNPRICED:
                symbol = self.symbols[int(self.state.account[0]["unpriced"])]
                raise ReplayError(
                    f"a fill of {symbol} rounds to a price of 0: its tick is coarser than its prices; set instruments.{symbol}.tick"
                )
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
        arrays = self.state.arrays() | {"ledger": self.state.ledger[:used], "identity": self._identity()}
        partial = path.with_name(path.name + ".tmp")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Take up a saved state; the session must have been made from the same dataset, proposals and settings.

        Raises
        ------
        ReplayError
            If the file is damaged, or was saved beside something else.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                saved = {name: file[name] for name in (*State.columns, "identity")}
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise ReplayError(f"{path}: not a saved session ({error}); save it anew") from error
        if saved.pop("identity").tobytes() != self._identity().tobytes():
            raise ReplayError(f"{path}: it was saved beside another dataset, other proposals or other settings; restore beside those")
        ledger = np.empty(len(saved["ledger"]) + len(self.state.ledger), self.state.ledger.dtype)
        ledger[: len(saved["ledger"])] = saved["ledger"]
        self.state = State(**(saved | {"ledger": ledger}))

    def _identity(self) -> NDArray[np.uint8]:
        """Hash of all that a saved state depends on."""
        digest = hashlib.sha256(f"{SEMANTICS_VERSION} {self._dataset_id} {self.settings!r}".encode())
        for array in self.proposals.arrays().values():
            digest.update(np.ascontiguousarray(array).data)
        return np.frombuffer(digest.digest(), np.uint8)

    def _overflow(self) -> ReplayError:
        account = self.state.account[0]
        symbol = (*self.symbols, "the account")[int(account["overflow"])]
        return ReplayError(
            f"money of {symbol} overflows 2^53 units at ledger record {int(account['overflow_seq'])}; "
            f"use fewer account decimals than {self.settings.decimals}, or smaller sizes"
        )
