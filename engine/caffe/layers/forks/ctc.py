"""Connectionist temporal classification: CTCLoss and CTCDecoder (Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ...blob import Blob
from ..base import EngineLayer
from ..function import Function
from ..registry import register


@register
class CTCLoss(Function):
    """The mean of -log p(labels | sequence) over N sequences (Graves et al. 2006, section 3 and 4).

    The scores are T x N x C, which a softmax turns into probabilities. With two bottoms the second
    has the labels, N rows (senlinuc/caffe_ocr). With three bottoms they are scores, marks T x N (0
    where a sequence starts, 1 where it goes on, and again 0 behind its end) and labels T x N. With
    four they are scores, lengths of the sequences, lengths of the labels, and labels T x N.
    Without lengths, a label ends at the first value that is negative or the blank's, blank_index;
    a negative blank_index counts from the last class.
    """

    bottoms, tops = (2, 4), (1, 1)
    auto_tops = 1
    loss = True
    in_place = False
    no_gradient = (1, 2, 3)
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index == 0

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.ctc_loss_param
        if p.output_delay or p.preprocess_collapse_repeated or not p.ctc_merge_repeated:
            raise self.error(
                "output_delay, preprocess_collapse_repeated and ctc_merge_repeated: false are not "
                "supported; remove them"
            )

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        scores, labels = bottoms[0], bottoms[-1]
        if len(scores) < 3 or int(np.prod(labels)) % scores[1]:
            raise self.shape_error(
                f"scores of shape {scores} and labels of shape {labels}; T x N x C and rows for N "
                "sequences are needed"
            )
        return [()]

    def compute(self, scores: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        steps, count = scores.shape[:2]
        flat = scores.reshape(steps, count, -1)
        blank = self.layer_param.ctc_loss_param.blank_index % flat.shape[2]
        values = others[-1].detach().long()
        rows = values.reshape(count, -1) if len(others) == 1 else values.reshape(-1, count).T
        lengths = torch.full((count,), steps, dtype=torch.long)
        if len(others) == 3:
            lengths = others[0].detach().long().reshape(count).cpu()
            sizes = others[1].detach().long().reshape(count).cpu()
        else:
            if len(others) == 2:
                lengths = _marked_lengths(others[0].detach().reshape(steps, count))
            ends = (rows < 0) | (rows == blank)
            sizes = torch.where(ends.any(1), ends.int().argmax(1), rows.shape[1]).cpu()
        log_probabilities = torch.log_softmax(flat, 2)
        self._check(rows, sizes, flat.shape[2])
        return F.ctc_loss(
            log_probabilities, rows.clamp(min=0), lengths, sizes, blank, "sum", True
        ) / max(count, 1)

    def _check(self, rows: torch.Tensor, sizes: torch.Tensor, classes: int) -> None:
        for row, size in zip(rows, sizes):
            part = row[: int(size)]
            if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < classes:
                raise self.error(f"labels {part.tolist()}; they need to be 0 .. {classes - 1}")


def _marked_lengths(marks: torch.Tensor) -> torch.Tensor:
    """Return the length of each sequence: 0 marks its start, 1 each further step."""
    on = marks.clone()
    on[0] = 1
    return on.ne(0).int().cumprod(0).sum(0).long().cpu()


@register
class WarpCTCLoss(CTCLoss):
    """CTCLoss under the name that nets with Baidu's warp-ctc use (senlinuc/caffe_ocr)."""


@register
class CtcLoss(CTCLoss):
    """CTCLoss under another spelling of its name."""


@register
class CTCDecoder(EngineLayer):
    """The best class of each step, without repetitions and blanks (Graves et al. 2006, 3.2).

    The bottoms are scores T x N x C, and optionally marks T x N of sequences as CTCLoss reads
    them, and labels. The top is N x T, with -1 behind the end. A second top is the share of
    labels that an edit distance counts as wrong. Without ctc_merge_repeated, repetitions stay.
    """

    bottoms, tops = (1, 3), (1, 2)
    in_place = False

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape = bottom[0].shape
        if len(shape) < 3:
            raise self.shape_error(f"the bottom has shape {shape}; it needs T x N x C")
        if len(top) == 2 and len(bottom) < 3:
            raise self.error("a second top needs labels as the third bottom")
        top[0].resize((shape[1], shape[0]))
        for blob in top[1:]:
            blob.resize(())

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        scores = bottom[0].values.tensor()
        steps, count = scores.shape[:2]
        flat = scores.reshape(steps, count, -1)
        blank = self.layer_param.ctc_decoder_param.blank_index % flat.shape[2]
        lengths = [steps] * count
        if len(bottom) > 1:
            marks = bottom[1].values.tensor().reshape(steps, count)
            lengths = _marked_lengths(marks).tolist()
        best = flat.argmax(2).T.tolist()
        paths = [self._collapsed(row[:n], blank) for row, n in zip(best, lengths)]
        rows = np.full((count, steps), -1, np.float32)
        for row, path in zip(rows, paths):
            row[: len(path)] = path
        top[0].data[...] = rows
        if len(top) == 2:
            labels = np.array(bottom[2].data).reshape(-1, count).T.astype(int).tolist()
            targets = [[x for x in row if x >= 0 and x != blank] for row in labels]
            wrong = sum(edit_distance(a, b) for a, b in zip(paths, targets))
            top[1].data[...] = wrong / max(1, sum(map(len, targets)))

    def _collapsed(self, row: Sequence[int], blank: int) -> list[int]:
        merge = self.layer_param.ctc_decoder_param.ctc_merge_repeated
        before = [-1, *row]
        return [x for x, last in zip(row, before) if x != blank and not (merge and x == last)]


@register
class CtcDecoder(CTCDecoder):
    """CTCDecoder under another spelling of its name."""


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the least number of insertions, deletions and substitutions that turn a into b."""
    costs = list(range(len(b) + 1))
    for i, x in enumerate(a):
        before, costs = costs, [i + 1]
        for j, y in enumerate(b):
            costs.append(min(before[j] + (x != y), before[j + 1] + 1, costs[j] + 1))
    return costs[-1]
