"""FCN-8s in the usual style of PyTorch, for comparison."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: Outputs and number of the convolutions in each block of VGG16.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class FCN8s(nn.Module):
    """FCN-8s on VGG16 (arXiv 1411.4038): N x 3 x H x W to scores, N x classes x H x W.

    The layers have the names, the padding of 100 and the crops of the Caffe net, so that the same
    weights give the same scores. width: factor of the number of channels. dense: channels of fc6
    and fc7.
    """

    def __init__(self, classes: int = 21, width: float = 1, dense: int = 4096) -> None:
        super().__init__()
        channels = 3
        for block, (outputs, count) in enumerate(BLOCKS, 1):
            for i in range(1, count + 1):
                pad = 100 if block == i == 1 else 1
                conv = nn.Conv2d(channels, round(outputs * width), 3, padding=pad)
                self.add_module(f"conv{block}_{i}", conv)
                channels = round(outputs * width)
        dense = round(dense * width)
        self.fc6 = nn.Conv2d(channels, dense, 7)
        self.fc7 = nn.Conv2d(dense, dense, 1)
        self.score_fr = nn.Conv2d(dense, classes, 1)
        self.score_pool4 = nn.Conv2d(round(512 * width), classes, 1)
        self.score_pool3 = nn.Conv2d(round(256 * width), classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore_pool4 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the scores of an image."""
        x, pools = image, {}
        for block, (_, count) in enumerate(BLOCKS, 1):
            for i in range(1, count + 1):
                x = F.relu(getattr(self, f"conv{block}_{i}")(x), inplace=True)
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            if block in (3, 4):
                pools[block] = x
        x = F.relu(self.fc6(x), inplace=True)
        x = F.relu(self.fc7(x), inplace=True)
        x = self.upscore2(self.score_fr(x))
        x = x + crop(self.score_pool4(pools[4]), 5, x)
        x = self.upscore_pool4(x)
        x = x + crop(self.score_pool3(pools[3]), 9, x)
        return crop(self.upscore8(x), 31, image)


def crop(x: torch.Tensor, offset: int, like: torch.Tensor) -> torch.Tensor:
    """Return the part of x that starts at `offset` in both axes and is as large as `like`."""
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


def optimizer(model: FCN8s, lr: float, momentum: float, decay: float) -> torch.optim.SGD:
    """Return the papers' SGD: biases learn twice as fast without decay; upsampling is fixed."""
    learning = [(n, p) for n, p in model.named_parameters() if not n.startswith("up")]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("up"))
    weights = [p for n, p in learning if n.endswith("weight")]
    biases = [p for n, p in learning if n.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": decay},
        {"params": biases, "lr": 2 * lr, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)
