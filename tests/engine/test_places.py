"""The index tables by which CUDA kernels find each position of a map, checked on the CPU."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
import torch
from caffe.run.patches import Patches

from tests.engine.test_regions import SIZES, TRUNKS, always, build, fill


def joined(patch, border, places, fill):
    """Join a patch and a border as the kernel `join` does."""
    py, px, by, bx = (t.long() for t in places.tensors)
    within = (by >= 0)[:, None] & (bx >= 0)
    inside = within & (py >= 0)[:, None] & (px >= 0)
    of_patch = patch[:, :, py.clamp(min=0)][..., px.clamp(min=0)]
    of_border = border[:, :, by.clamp(min=0)][..., bx.clamp(min=0)]
    return torch.where(inside, of_patch, torch.where(within, of_border, fill)), within & ~inside


def border_of(places):
    """For each position of a map, the border position it is summed into, and how many times."""
    rows, columns = (run.reshape(-1, 2).tolist() for run in places.runs)
    top, bottom, left, right = places.edges
    shape = [t.numel() for t in places.tensors[:2]]
    targets, times = np.full((*shape, 2), -1), np.zeros(shape, int)
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
                targets[y, x] = by, bx
                times[y, x] += 1
    return targets, times


@pytest.fixture(params=SIZES, ids=str)
def windows(request, tmp_path, monkeypatch):
    """Every window that passes through some regions join, by tables and by slices."""
    always(monkeypatch)
    windows, window = [], Patches.window

    def note(self, blob, extent, patch, border, positions, fill):
        by_slices = window(self, blob, extent, patch, border, positions, fill)
        if blob in border.maps:
            places = self.cuda_places(blob, extent, positions)
            by_tables, beside = joined(patch.finished(), border.maps[blob], places, fill)
            shape = patch.values.shape
            windows.append((by_tables, by_slices, places, beside.numpy(), shape))
        return by_slices

    monkeypatch.setattr(Patches, "window", note)
    for trunk in TRUNKS.values():
        net = build(tmp_path, trunk, True, request.param, caffe.TEST)
        fill(net)
        net.forward()
    assert windows
    return windows


def test_index_tables_join_a_map_as_slices_do(windows):
    for by_tables, by_slices, *_ in windows:
        assert torch.equal(by_tables, by_slices)


def test_each_position_beside_the_patch_counts_once_for_its_border(windows):
    for _, _, places, beside, _ in windows:
        targets, times = border_of(places)
        assert np.array_equal(times, beside)
        rows, columns = (t.numpy() for t in places.tensors[2:])
        assert np.array_equal(targets[..., 0], np.where(beside, rows[:, None], -1))
        assert np.array_equal(targets[..., 1], np.where(beside, columns, -1))


def test_places_say_whether_the_whole_patch_is_in_the_map(windows):
    for _, _, places, _, shape in windows:
        counts = [int((t >= 0).sum()) for t in places.tensors[:2]]
        assert places.patch_inside == (counts == list(shape[2:]))
