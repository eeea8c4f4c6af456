"""The mean of the rows of several workers has the text of each."""

from __future__ import annotations

import pytest
import torch
from caffe.train.travelling import Travelling

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [2, 3, 7, 8])
def test_the_mean_of_the_rows_has_all_texts(count):
    texts = [chr(0xE4 + rank) * rank + "a\uffff" * 400 for rank in range(count)]
    rows = [Travelling(rank, count, 3001).row(text, CPU) for rank, text in enumerate(texts)]
    mean = torch.stack(rows).sum(0) / count
    assert Travelling(0, count, 3001).texts(mean) == texts


def test_a_text_that_has_outgrown_its_room_is_left_out():
    rows = [Travelling(rank, 2, 8).row(text, CPU) for rank, text in enumerate(["123456789", "1"])]
    assert Travelling(1, 2, 8).texts((rows[0] + rows[1]) / 2) == ["", "1"]
