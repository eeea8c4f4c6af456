"""Small parameters that are updated together, because their values lie one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ..blob import Blob
from ..memory import Memory
from ..run.places import GRADIENTS, VALUES, Kind, Places
from ..run.wiring import Parameter

#: Values of a group up to which its parameters are put together: a rule then takes longer to call
#: for each parameter than to compute.
MOST_VALUES = 1 << 16


class _Row(NamedTuple):
    """The weights, the gradients or a history of a group: a flat tensor and the blobs' parts."""

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


class Group:
    """Parameters with equal factors of the learning rate and of the decay.

    parameters: at least one. histories: for each history of the rule, the blobs of the parameters.
    """

    def __init__(
        self, parameters: Sequence[Parameter], histories: Sequence[Sequence[Blob]]
    ) -> None:
        blobs = [parameter.blob for parameter in parameters]
        self.lr_mult, self.decay_mult = parameters[0].lr_mult, parameters[0].decay_mult
        gradients = _Row.of(GRADIENTS, blobs)
        gradients.places.lend()
        self._rows = [_Row.of(VALUES, blobs), gradients]
        self._rows += [_Row.of(VALUES, history) for history in histories]

    def values(self) -> list[torch.Tensor] | None:
        """Return the weights, the gradients and each history, flat and to be written.

        None while somebody holds one of them, so that they cannot be put together.
        """
        for row in self._rows:
            if not row.places.are_in_place():
                row.places.gather()
                if not row.places.are_in_place():
                    return None
        for row in self._rows:
            row.places.before_write()
        return [row.values for row in self._rows]


def groups_of(
    parameters: Sequence[Parameter], history: Sequence[Blob]
) -> tuple[list[Group], list[int]]:
    """Return the groups of small parameters that learn, and the numbers of all other parameters.

    history: for each of the rule's histories in turn, a blob for each parameter.
    """
    members: dict[tuple[float, float], list[int]] = {}
    for i, (blob, lr_mult, decay_mult) in enumerate(parameters):
        if lr_mult != 0 and isinstance(blob.values, Memory):
            members.setdefault((lr_mult, decay_mult), []).append(i)
    groups, grouped = [], set[int]()
    for numbers in members.values():
        if sum(parameters[i].blob.count for i in numbers) > MOST_VALUES:
            continue
        rows = range(0, len(history), len(parameters))
        histories = [[history[start + i] for i in numbers] for start in rows]
        groups.append(Group([parameters[i] for i in numbers], histories))
        grouped.update(numbers)
    return groups, [i for i in range(len(parameters)) if i not in grouped]
