"""Small parameters that are updated together, because their values lie one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from ..blob import Blob
from ..memory import Memory
from ..run.places import GRADIENTS, VALUES, Kind, Places
from ..run.wiring import Parameter
from .rules import Call, Rule

#: Values of a parameter, and of all of them, up to which parameters are put together. Calling a
#: rule for each of them takes longer than computing the update.
MOST_OF_ONE, MOST_OF_ALL = 1 << 14, 1 << 16


class _Row(NamedTuple):
    """The weights, the gradients or a history of all parameters: flat, and each blob's part."""

    values: torch.Tensor
    places: Places

    @classmethod
    def of(cls, kind: Kind, blobs: Sequence[Blob]) -> _Row:
        """Return a row that has room for blobs."""
        row = cls(torch.zeros(sum(blob.count for blob in blobs)), Places(kind))
        start = 0
        for blob in blobs:
            row.places.add(blob, row.values[start : start + blob.count].view(blob.shape))
            start += blob.count
        return row


class Piece(NamedTuple):
    """Parameters with equal factors: their weights, gradients and histories, and the factors."""

    tensors: Sequence[torch.Tensor]
    lr_mult: float
    decay_mult: float


class SmallParameters:
    """The small parameters of a net that learn.

    history: for each of the rule's histories in turn, a blob for each parameter. rest: the numbers
    of all other parameters. pieces: the parameters, those with equal factors together.
    """

    def __init__(self, parameters: Sequence[Parameter], history: Sequence[Blob]) -> None:
        numbers = _small(parameters)
        self.rest = [i for i in range(len(parameters)) if i not in numbers]
        members = [parameters[i] for i in numbers]
        blobs = [parameter.blob for parameter in members]
        gradients = _Row.of(GRADIENTS, blobs)
        gradients.places.lend()
        self._rows = [_Row.of(VALUES, blobs), gradients]
        for start in range(0, len(history), max(1, len(parameters))):
            self._rows.append(_Row.of(VALUES, [history[start + i] for i in numbers]))
        self.pieces: list[Piece] = []
        start = 0
        for factors, equal in groupby(members, _factors):
            count = sum(parameter.blob.count for parameter in equal)
            part = slice(start, start + count)
            self.pieces.append(Piece([row.values[part] for row in self._rows], *factors))
            start += count

    def bind(self, rule: Rule, weight_decay: float) -> BoundUpdate | None:
        """Return the update of all parameters as bound calls; None if the rule has none."""
        arrays = [row.values.numpy() for row in self._rows]
        rates, lr_mults, decays = (np.zeros_like(arrays[0]) for _ in range(3))
        start = 0
        for piece in self.pieces:
            part = slice(start, start + len(piece.tensors[0]))
            lr_mults[part], decays[part] = piece.lr_mult, weight_decay * piece.decay_mult
            start = part.stop
        weights, gradients, *history = arrays
        calls = rule.bind(weights, gradients, history, rates, decays)
        return None if calls is None else BoundUpdate(calls, lr_mults, rates)

    def begin(self) -> bool:
        """Prepare for an update; False while somebody holds values, so that they cannot move."""
        for row in self._rows:
            if not row.places.are_in_place():
                row.places.gather()
                if not row.places.are_in_place():
                    return False
        for row in self._rows:
            row.places.before_change()
        return True


class BoundUpdate:
    """The calls of an update. rates: the rate of each value, which the calls read."""

    def __init__(self, calls: list[Call], lr_mults: np.ndarray, rates: np.ndarray) -> None:
        self._calls, self._lr_mults, self._rates = calls, lr_mults, rates
        self._rate = 0.0

    def run(self, rate: float) -> None:
        """Update the parameters at this learning rate."""
        with np.errstate(all="ignore"):
            if rate != self._rate:
                np.multiply(self._lr_mults, np.float32(rate), self._rates)
                self._rate = rate
            for call in self._calls:
                call()


def _factors(parameter: Parameter) -> tuple[float, float]:
    return parameter.lr_mult, parameter.decay_mult


def _small(parameters: Sequence[Parameter]) -> list[int]:
    """The numbers of the small parameters that learn, in the order of their factors."""
    numbers: list[int] = []
    count = 0
    for i, (blob, lr_mult, _) in enumerate(parameters):
        fits = blob.count <= MOST_OF_ONE and count + blob.count <= MOST_OF_ALL
        if fits and lr_mult != 0 and isinstance(blob.values, Memory):
            numbers.append(i)
            count += blob.count
    return sorted(numbers, key=lambda i: _factors(parameters[i]))
