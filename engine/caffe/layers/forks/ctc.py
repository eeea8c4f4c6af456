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
    a negative blank_index counts from the last class. preprocess_collapse_repeated leaves one label
    of each run of equal ones. Without ctc_merge_repeated, each step that is not blank is a label.
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
        if self.layer_param.ctc_loss_param.output_delay:
            raise self.error("output_delay is not supported; remove it")

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
        p = self.layer_param.ctc_loss_param
        if p.preprocess_collapse_repeated:
            rows, sizes = _collapsed(rows, sizes)
        ctc = F.ctc_loss if p.ctc_merge_repeated else _unmerged_loss
        total = ctc(log_probabilities, rows.clamp(min=0), lengths, sizes, blank, "sum", True)
        return total / max(count, 1)

    def _check(self, rows: torch.Tensor, sizes: torch.Tensor, classes: int) -> None:
        for row, size in zip(rows, sizes):
            part = row[: int(size)]
            if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < classes:
                raise self.error(f"labels {part.tolist()}; they need to be 0 .. {classes - 1}")


def _collapsed(rows: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels and their numbers, with one label of each run of equal ones."""
    collapsed, lengths = torch.zeros_like(rows), torch.zeros_like(sizes)
    for n, (row, size) in enumerate(zip(rows, sizes)):
        labels = row[: int(size)].unique_consecutive()
        collapsed[n, : len(labels)], lengths[n] = labels, len(labels)
    return collapsed, lengths


def _unmerged_loss(
    log_probabilities: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    sizes: torch.Tensor,
    blank: int,
    reduction: str,
    zero_infinity: bool,
) -> torch.Tensor:
    """As F.ctc_loss, for paths in which each step that is not blank is a separate label.

    Between labels lie blanks: in state 2 k of 2 L + 1, k labels are over and the last step was a
    blank, in state 2 k - 1 the last step was label k. The log of the probability of each state
    comes from those of the states from which a step leads there. An impossible label costs 0.
    """
    never = -1e30
    count, most = rows.shape
    states = torch.full((count, 2 * most + 1), blank, device=rows.device)
    states[:, 1::2] = rows
    steps = log_probabilities.gather(2, states.expand(len(log_probabilities), -1, -1))
    is_label = torch.arange(2 * most + 1, device=rows.device) % 2 == 1
    start = torch.arange(2 * most + 1, device=rows.device) < 2
    forward = torch.where(start, steps[0], never)
    for t in range(1, len(steps)):
        stay = forward.masked_fill(is_label, never)
        one = F.pad(forward[:, :-1], (1, 0), value=never)
        two = F.pad(forward, (2, 0), value=never)[:, : forward.shape[1]].masked_fill(
            ~is_label, never
        )
        moved = torch.logsumexp(torch.stack([stay, one, two]), 0) + steps[t]
        forward = torch.where((t < lengths.to(rows.device))[:, None], moved, forward)
    last = 2 * sizes.to(rows.device)[:, None]
    ends = forward.gather(1, torch.cat([last, (last - 1).clamp(min=0)], 1))
    ends = torch.stack([ends[:, 0], torch.where(last[:, 0] > 0, ends[:, 1], never)], 1)
    total = torch.logsumexp(ends, 1)
    return -torch.where(total > never / 2, total, torch.zeros_like(total)).sum()


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
