"""The sizes that net_gen.padding computes, compared with nets that BVLC Caffe builds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from net_gen import padding

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]

# Builds a narrow net at a padding, and prints the size of every blob at each input size.
SCRIPT = """
import json, sys, tempfile
import caffe
import net_gen
from net_gen import padding
variant, pad, sizes = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
net = net_gen.fcn(variant, "deploy", classes=2, width=1 / 16., channels=1)
net.layer[0].input_param.shape[0].dim[2:] = [sizes[0], sizes[0]]
with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
    file.write(net_gen.to_text(padding.with_padding(net, pad)))
    file.flush()
    built = caffe.Net(file.name, caffe.TEST)
blob_sizes = []
for size in sizes:
    built.blobs["data"].reshape(1, 1, size, size + 5)
    built.reshape()
    if size < 12:
        built.forward()
    blob_sizes.append({k: list(b.shape[2:]) for k, b in built.blobs.items() if "_split_" not in k})
print("SIZES " + json.dumps(blob_sizes))
"""


def build(bvlc_caffe, variant, pad, sizes):
    return bvlc_caffe("-c", SCRIPT, variant, pad, json.dumps(list(sizes)), cwd=CHECKOUT)


CASES = [
    (variant, smallest)
    for variant in ("voc-fcn8s", "voc-fcn-alexnet", "voc-fcn-googlenet8s")
    for smallest in (1, 200)
]


@pytest.mark.parametrize("variant, smallest", CASES)
def test_every_blob_has_the_size_that_bvlc_caffe_makes(bvlc_caffe, variant, smallest):
    pad = padding.least_padding(variant, smallest)
    net = padding.Geometry(variant, pad)
    first = net.limits().smallest
    sizes = [*range(first, first + 70), 223, 224, 500]
    result = build(bvlc_caffe, variant, pad, sizes)
    assert result.returncode == 0, result.stderr
    line = next(x for x in result.stdout.splitlines() if x.startswith("SIZES "))
    for size, built in zip(sizes, json.loads(line[6:])):
        high, wide = net.sizes(size), net.sizes(size + 5)
        assert built == {blob: [high[blob], wide[blob]] for blob in built}


@pytest.mark.parametrize("variant", ["voc-fcn8s", "voc-fcn-alexnet"])
def test_bvlc_caffe_refuses_an_input_below_the_smallest(bvlc_caffe, variant):
    pad = padding.least_padding(variant, 200)
    size = padding.smallest_input(variant, pad)[0]
    assert build(bvlc_caffe, variant, pad, [size]).returncode == 0
    # BVLC Caffe builds the layers up to fc6 on an empty blob, and fails behind fc6.
    assert build(bvlc_caffe, variant, pad, [size - 3]).returncode != 0


def test_bvlc_caffe_refuses_the_sizes_at_which_alexnet_has_too_few_scores(bvlc_caffe):
    net = padding.Geometry("voc-fcn-alexnet", 82)
    bad = []
    for size in range(64, 64 + net.period):
        try:
            net.sizes(size)
        except ValueError:
            bad.append(size)
    good = [size for size in range(64, 64 + net.period) if size not in bad]
    assert bad and build(bvlc_caffe, "voc-fcn-alexnet", 82, good[:1]).returncode == 0
    assert build(bvlc_caffe, "voc-fcn-alexnet", 82, bad[:1]).returncode != 0
