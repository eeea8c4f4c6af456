"""Small parameters that are updated together, because their values lie one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from ..blob import Blob
from ..memory import Memory
from ..native.instructions import Call
from ..native.link import NativeRun, link
from ..run.places import GRADIENTS, VALUES, Kind, Places, Terms
from ..run.wiring import Parameter
from .rules import Factors, Rule

#: Values of a parameter, and of all of them, up to which parameters are put together. Calling a
#: rule for each of them takes longer than computing the update.
MOST_OF_ONE, MOST_OF_ALL = 1 << 14, 1 << 16
#: The values of all parameters up to which the C library updates them, reading each value once. In
#: larger nets, PyTorch updates the larger parameters, and rounds differently.
MOST_IN_C = 1 << 19


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

    history: for each of the rule's histories in turn, a blob for each parameter. in_c: whether the
    C library updates them. rest: the numbers
    of all other parameters. pieces: the parameters, those with equal factors together.
    """

    def __init__(
        self, parameters: Sequence[Parameter], history: Sequence[Blob], in_c: bool
    ) -> None:
        all_values = sum(parameter.blob.count for parameter in parameters)
        in_c = in_c and all_values <= MOST_IN_C
        limits = (MOST_IN_C, MOST_IN_C) if in_c else (MOST_OF_ONE, MOST_OF_ALL)
        numbers = _small(parameters, *limits)
        self.rest = [i for i in range(len(parameters)) if i not in numbers]
        members = [parameters[i] for i in numbers]
        blobs = [parameter.blob for parameter in members]
        gradients = _Row.of(GRADIENTS, blobs)
        gradients.places.lend()
        self._rows = [_Row.of(VALUES, blobs), gradients]
        for start in range(0, len(history), max(1, len(parameters))):
            self._rows.append(_Row.of(VALUES, [history[start + i] for i in numbers]))
        self._terms = Terms()
        self.pieces: list[Piece] = []
        start = 0
        for factors, equal in groupby(members, _factors):
            count = sum(parameter.blob.count for parameter in equal)
            part = slice(start, start + count)
            self.pieces.append(Piece([row.values[part] for row in self._rows], *factors))
            start += count

    def bind(self, rule: Rule, weight_decay: float) -> BoundUpdate | None:
        """Return the update of all parameters as bound calls; None if the rule has none."""
        rate = np.zeros((), np.float32)
        calls: list[Call] = []
        for piece in self.pieces:
            weights, gradients, *history = (tensor.numpy() for tensor in piece.tensors)
            factors = Factors(rate, piece.lr_mult, weight_decay * piece.decay_mult)
            of_piece = rule.bind(weights, gradients, history, factors)
            if of_piece is None:
                return None
            calls += of_piece
        return BoundUpdate(link(calls), rate)

    def is_leased(self) -> bool:
        """Return whether all values are where the last update left them."""
        return self._terms.are_met()

    def count_update(self) -> None:
        """Count an update of leased memories, which is about to change them."""
        self._terms.count_pass()

    def begin(self) -> bool:
        """Prepare for an update; False while somebody holds values, so that they cannot move."""
        if self._terms.are_met():
            self._terms.count_pass()
            return True
        for row in self._rows:
            if not row.places.are_in_place():
                row.places.gather()
                if not row.places.are_in_place():
                    return False
        for row in self._rows:
            row.places.before_change()
        self._terms.lease([row.places for row in self._rows], [])
        return True


class BoundUpdate:
    """The calls of an update. rate: the learning rate, which the calls read."""

    def __init__(self, calls: Sequence[Call], rate: np.ndarray) -> None:
        self.calls, self._rate = calls, rate
        self._warns = not all(isinstance(call, NativeRun) for call in calls)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next call."""
        self._rate[()] = rate

    def run(self, rate: float) -> None:
        """Update the parameters at this learning rate."""
        if not self._warns:
            self.set_rate(rate)
            for call in self.calls:
                call()
            return
        with np.errstate(all="ignore"):
            self.set_rate(rate)
            for call in self.calls:
                call()


def _factors(parameter: Parameter) -> tuple[float, float]:
    return parameter.lr_mult, parameter.decay_mult


def _small(parameters: Sequence[Parameter], most_of_one: int, most_of_all: int) -> list[int]:
    """Return the numbers of the small parameters that learn, in the order of their factors."""
    numbers: list[int] = []
    count = 0
    for i, (blob, lr_mult, _) in enumerate(parameters):
        fits = blob.count <= most_of_one and count + blob.count <= most_of_all
        if fits and lr_mult != 0 and isinstance(blob.values, Memory):
            numbers.append(i)
            count += blob.count
    return sorted(numbers, key=lambda i: _factors(parameters[i]))
