"""Losses of scores in different memory layouts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from caffe.layers.softmax_loss import softmax_loss

LAYOUTS = {
    "planes": lambda x: x.contiguous(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "cropped": lambda x: F.pad(x, (1, 2, 3, 0))[:, :, 3:, 1:-2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axis", [1, 3])
def test_softmax_loss_is_the_same_in_every_layout(layout, axis):
    torch.manual_seed(6)
    scores = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    label = torch.randint(0, scores.shape[axis], scores.movedim(axis, -1).shape[:-1])
    counted = torch.rand(label.shape) < 0.8
    exact = scores.clone().requires_grad_()
    log_prob = F.log_softmax(exact, axis)
    picked = log_prob.movedim(axis, -1).gather(-1, label[..., None])[..., 0]
    expected = -(picked * counted).sum() / 3
    expected.backward()
    x = LAYOUTS[layout](scores.float()).requires_grad_()
    loss, prob = softmax_loss(x, label, counted, axis, torch.tensor(3.0))
    loss.backward()
    assert torch.allclose(loss.double(), expected, rtol=1e-6)
    for result, right in ((prob, log_prob.exp()), (x.grad, exact.grad)):
        assert result.shape == right.shape and torch.allclose(result.double(), right, atol=1e-6)
