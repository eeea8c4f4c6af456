"""In which order cases, peers and rounds are measured, and which share a process."""

from __future__ import annotations

import itertools
from typing import Iterator, List, NamedTuple, Sequence, Tuple

from bench.peers import ALONE, CASES, find_peer
from bench.settings import Settings


class Turn(NamedTuple):
    """A case of a peer in a round."""

    case: str
    peer: str
    round: int


def plan(settings: Settings, peers: Sequence[str]) -> Iterator[Turn]:
    """Yield the turns of a run; each round begins with another peer.

    On the CPU all rounds of a case come before the next case. On a CUDA device all cases of a round
    come together, one peer after the other, so that the cases of a peer can share a process.
    """
    measured = {case: measured_peers(settings, case, peers) for case in settings.cases}
    rounds = {case: rounds_of(settings, case) for case in measured}
    if settings.device == "cpu":
        for case in measured:
            for i in range(rounds[case]):
                yield from (Turn(case, peer, i) for peer in _rotated(measured[case], i))
        return
    alone_last = sorted(measured, key=lambda case: CASES[case].kind in ALONE)
    for i in range(max(rounds.values(), default=0)):
        for peer in _rotated(peers, i):
            for case in alone_last:
                if peer in measured[case] and i < rounds[case]:
                    yield Turn(case, peer, i)


def rounds_of(settings: Settings, case: str) -> int:
    """Return how many rounds a case has: all of them where two engines are compared."""
    compared = any(find_peer(name).engine for name in settings.peers)
    return settings.rounds if compared else min(settings.rounds, CASES[case].rounds)


def measured_peers(settings: Settings, case: str, peers: Sequence[str]) -> List[str]:
    """Return the peers that a case is measured of."""
    if settings.device not in CASES[case].devices:
        return []
    return [name for name in peers if CASES[case].measures(name)]


def visits(settings: Settings, turns: Sequence[Turn]) -> List[List[Turn]]:
    """Return the turns in groups that share a process: on a CUDA device, a peer's of a round.

    A start takes 4 s there, and many cases 0.1 s. The device's memory is measured for each case;
    the host's memory and the cost of a start need a process of their own.
    """

    def shared(turn: Turn) -> Tuple[str, int, str]:
        alone = settings.device == "cpu" or CASES[turn.case].kind in ALONE
        return turn.peer, turn.round, turn.case if alone else ""

    return [list(group) for _, group in itertools.groupby(turns, shared)]


def _rotated(peers: Sequence[str], i: int) -> List[str]:
    turn = i % max(1, len(peers))
    return [*peers[turn:], *peers[:turn]]
