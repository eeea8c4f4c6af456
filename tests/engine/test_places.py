"""Where the kernels of a CUDA device find each position of a map, told and checked on the CPU."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
from caffe.run.region import Region

from tests.engine.test_plan import SIZES, TRUNKS, always, build, fill


def joined(patch, border, places, fill):
    """What the kernel `join` makes of a patch and a border."""
    py, px, by, bx = (t.long() for t in places.tensors)
    within = (by >= 0)[:, None] & (bx >= 0)
    inside = within & (py >= 0)[:, None] & (px >= 0)
    of_patch = patch[:, :, py.clamp(min=0)][..., px.clamp(min=0)]
    of_border = border[:, :, by.clamp(min=0)][..., bx.clamp(min=0)]
    return torch.where(inside, of_patch, torch.where(within, of_border, fill)), within & ~inside


def border_of(places):
    """By position of a map: which of the border `to_border` sums it into, and how many times."""
    rows, columns = (run.reshape(-1, 2).tolist() for run in places.runs)
    top, bottom, left, right = places.edges
    shape = [t.numel() for t in places.tensors[:2]]
    found, times = np.full((*shape, 2), -1), np.zeros(shape, int)
    for by, (r0, r1) in enumerate(rows):
        for bx, (c0, c1) in enumerate(columns):
            first, wide = max(r0, top), c1 - c0
            beside = max(0, min(r1, bottom) - first)
            before, after = max(0, min(c1, left) - c0), max(0, c1 - max(c0, right))
            narrow = min(before + after, wide)
            for k in range(beside * narrow + (r1 - r0 - beside) * wide):
                if k < beside * narrow:
                    y, x = first + k // narrow, k % narrow
                    x = c0 + x if x < before else c1 - narrow + x
                else:
                    y, x = divmod(k - beside * narrow, wide)
                    y, x = r0 + y, c0 + x
                    y += beside if beside and y >= first else 0
                found[y, x] = by, bx
                times[y, x] += 1
    return found, times


@pytest.fixture(params=SIZES, ids=str)
def windows(request, tmp_path, monkeypatch):
    """Every window that passes through some regions put together: (ours, theirs, places)."""
    always(monkeypatch)
    found, window = [], Region._window

    def note(self, blob, patch, border, rows, columns, fill):
        theirs = window(self, blob, patch, border, rows, columns, fill)
        if blob in border.maps:
            places = self._places(blob, rows, columns)
            ours, beside = joined(patch.whole(), border.maps[blob], places, fill)
            found.append((ours, theirs, places, beside.numpy(), patch.values.shape))
        return theirs

    monkeypatch.setattr(Region, "_window", note)
    for trunk in TRUNKS.values():
        net = build(tmp_path, trunk, True, request.param, caffe.TEST)
        fill(net)
        net.forward()
    assert found
    return found


def test_a_map_is_found_in_its_patch_and_its_border(windows):
    for ours, theirs, *_ in windows:
        assert torch.equal(ours, theirs)


def test_each_position_beside_the_patch_counts_once_for_its_border(windows):
    for _, _, places, beside, _ in windows:
        found, times = border_of(places)
        assert np.array_equal(times, beside)
        rows, columns = (t.numpy() for t in places.tensors[2:])
        assert np.array_equal(found[..., 0], np.where(beside, rows[:, None], -1))
        assert np.array_equal(found[..., 1], np.where(beside, columns, -1))


def test_a_patch_that_is_whole_in_a_map_is_told(windows):
    for _, _, places, _, shape in windows:
        counts = [int((t >= 0).sum()) for t in places.tensors[:2]]
        assert places.patch_inside == (counts == list(shape[2:]))
