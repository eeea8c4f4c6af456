"""Tiles: the labels of a large picture are those of the picture at once."""

import os

import caffe
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

import net_gen
from fcn_common.memory import peak_memory, reset_peak_memory
from net_gen.geometry import Geometry
from solvers import chain, infer, planner, tiles
from solvers.interface import Settings
from solvers.tiles import Context
from surgery import interp, interp_layers
from tests.solvers import tiny_nets
from tests.solvers.tiny_nets import convolution, layer

#: Agreement of tiles and whole pictures: the scores differ by rounding alone, as a share of the
#: largest score; only labels whose two highest scores are closer than that can differ.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """An FCN-AlexNet of 1/16 the width with random weights, whose field is 417 pixels."""
    folder = tmp_path_factory.mktemp("tiles") / "net"
    net = net_gen.fcn("voc-fcn-alexnet", "deploy", classes=5, width=1 / 16)
    prototxt = str(folder / "deploy.prototxt")
    net_gen.write(chain.with_fillers(net, "msra"), prototxt)
    weights = str(folder / "w.caffemodel")
    chain.random_weights(prototxt, weights, 1)
    loaded = caffe.Net(prototxt, weights, caffe.TEST)
    rng = np.random.RandomState(0)
    interp(loaded, interp_layers(loaded))
    kernel = loaded.params["score_fr"][0].data
    kernel[...] = rng.randn(*kernel.shape)
    loaded.save(weights)
    return prototxt, weights


def opened(net, **options):
    settings = Settings(mean=(100, 100, 100), long_side=0)
    options.setdefault("settings", settings)
    return infer.open_segmenter(net=net[0], weights=net[1], gpu="cpu", say=str, **options)


def picture(height, width, seed=0):
    """A picture of coarse and fine random blocks."""
    rng = np.random.RandomState(seed)
    coarse = rng.randint(0, 256, (-(-height // 40), -(-width // 40), 3)).repeat(40, 0).repeat(40, 1)
    return (0.7 * coarse[:height, :width] + rng.randint(0, 76, (height, width, 3))).astype(np.uint8)


def test_tiles_cover_a_picture_and_keep_their_margins():
    around = Context(32, 256, 245), Context(16, 112, 90)
    plan = tiles.plan(1000, 700, 640, around)
    painted = np.zeros((1000, 700), int)
    for tile in plan:
        painted[tile.core_rows, tile.core_columns] += 1
        assert tile.rows.start % 32 == 0 and tile.columns.start % 16 == 0
        assert tile.rows.stop - tile.rows.start <= 640 >= tile.columns.stop - tile.columns.start
        for part, core, context, size in (
            (tile.rows, tile.core_rows, around[0], 1000),
            (tile.columns, tile.core_columns, around[1], 700),
        ):
            assert part.start == 0 or core.start - part.start == context.before
            assert part.stop == size or part.stop - core.stop >= context.after
    assert (painted == 1).all() and len(plan) > 2


def test_a_picture_of_the_size_of_a_tile_is_a_single_tile():
    assert len(tiles.plan(640, 600, 640, (Context(32, 256, 245), Context(32, 256, 245)))) == 1


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"tile": 0}, "tile is 0, needs an integer of at least 1"),
        ({"tile": 500, "memory": "1GB"}, "tile 500 and memory 1GB are named: name one of them"),
        ({"settings": Settings(long_side=-1)}, "long_side is -1, needs an integer of at least 0"),
    ],
)
def test_limits_that_mean_nothing_are_refused(alexnet, options, reason):
    with pytest.raises(ValueError, match=reason):
        opened(alexnet, **options)


def test_tiles_without_room_for_a_core_are_refused():
    with pytest.raises(ValueError, match="tiles of 500 pixels are too small .* needs 533"):
        tiles.plan(1000, 700, 500, (Context(32, 256, 245), Context(32, 256, 245)))


def test_the_context_is_what_the_scores_of_a_core_depend_on():
    message = net_gen.fcn("voc-fcn8s", "deploy")
    geometry = Geometry(message)
    assert geometry.fields["score"] == 468 and geometry.period == 32
    net = {name: np.zeros((1, 1)) for name in geometry.maps}
    fake = type("Net", (), {"blobs": net})
    # The last pixel of a core sees 215 pixels behind it, the first one 221 before it.
    assert geometry.context("score") == (221, 215)
    assert tiles.Extent(message, fake, ["score"]).around == (Context(32, 224, 215),) * 2


def test_tiles_have_the_scores_and_the_labels_of_the_whole_picture(alexnet):
    image = picture(530, 700)
    scores = {}
    labels = {}
    for tile in (None, 672):
        segmenter = opened(alexnet, tile=tile, values="scores")
        stored = scores.setdefault(tile, np.empty((5, 530, 700), np.float32))
        segmentation = segmenter.segment(image, lambda head, shape, stored=stored: stored)
        labels[tile] = segmentation.labels[0]
    assert "700 x 530 pixels in 2 tiles of up to 672 pixels" in segmentation.notes
    assert len(np.unique(labels[None])) > 1
    limit = TOLERANCE * np.abs(scores[None]).max()
    assert np.abs(scores[672] - scores[None]).max() <= limit
    first, second = np.sort(scores[None], axis=0)[[-1, -2]]
    differ = labels[672] != labels[None]
    assert not (differ & (first - second > 2 * limit)).any()


def test_a_smaller_margin_than_the_field_changes_scores(alexnet, monkeypatch):
    """The margin is needed: half of it gives other scores."""
    image = picture(530, 700)
    reference = opened(alexnet).segment(image).labels[0]
    real = tiles.Extent.__init__

    def narrow(self, *arguments):
        real(self, *arguments)
        self.around = tuple(Context(side.period, 32, 40) for side in self.around)

    monkeypatch.setattr(tiles.Extent, "__init__", narrow)
    assert (opened(alexnet, tile=256).segment(image).labels[0] != reference).any()


def test_small_maps_are_the_same_in_tiles(tmp_path):
    pooling = layer(
        "Pooling", "raw", "score", "pooling_param { pool: AVE kernel_size: 8 stride: 8 }"
    )
    net = tiny_nets.write(tmp_path, convolution("raw", 4, size=5) + pooling, seed=1)
    image = picture(130, 170)
    reference = opened(net).segment(image)
    parts = opened(net, tile=64).segment(image)
    assert np.array_equal(parts.labels[0], reference.labels[0])
    assert any("tiles of up to 64 pixels" in note for note in parts.notes)


@pytest.mark.skipif(not os.path.isfile("/proc/self/statm"), reason="needs Linux")
@pytest.mark.long
def test_the_stated_memory_decides_the_size_of_the_tiles(tmp_path):
    net = tiny_nets.write(tmp_path, convolution("raw", 64, size=3) + convolution("score", 3, "raw"))
    opened(net).segment(picture(64, 64))
    image = picture(1200, 1600)
    assert reset_peak_memory()
    memory = tiles.resident_memory() + 300_000_000  # The blobs alone are 540 MB.
    (note,) = opened(net, memory=f"{memory / 1e6:.1f}MB").segment(image).notes
    assert 3 < int(note.split()[-2]) < 1600
    assert peak_memory() <= memory
    assert opened(net, memory="100GB").segment(image).notes == ()


def test_the_cost_of_a_pass_is_measured_by_two_passes(monkeypatch):
    """A Caffe that needs 100 bytes for every pass and three times the bytes of the blobs."""
    net = type("Net", (), {"blobs": {"data": np.zeros((1, 3)), "score": np.zeros((1, 5))}})
    message = caffe.proto.caffe_pb2.NetParameter()
    text_format.Parse(tiny_nets.data() + convolution("score", 5, size=3), message)
    peak = [0]

    def probe(height, width):
        peak[0] = 10**6 + 100 + 3 * 4 * 8 * height * width

    monkeypatch.setattr(planner, "MARGIN", 1)
    monkeypatch.setattr(planner, "RESERVE", 0)
    monkeypatch.setattr(planner, "reset_peak_memory", lambda: True)
    monkeypatch.setattr(planner, "peak_memory", lambda: peak[0])
    monkeypatch.setattr(tiles, "resident_memory", lambda: 10**6)
    side = 50
    limit = 10**6 + 40 * 100 * 100 + 100 + 3 * 4 * 8 * side * side
    instance = planner.Planner(message, net, ["score"], planner.Memory(bytes=limit), 3, probe)
    notes = []
    instance.plan(100, 100, notes)
    assert notes[0].endswith("tiles of up to 50 pixels")


def test_a_memory_that_is_too_small_for_any_tile_is_refused(tmp_path):
    net = tiny_nets.write(tmp_path, convolution("score", 3, size=3))
    # The pass of the first tile also loads parts of PyTorch, some megabytes.
    with pytest.raises(
        ValueError, match=r"--memory is 0.00 GB, and .* the smallest pass needs 0.0\d GB more"
    ):
        opened(net, memory="1MB").segment(picture(60, 80))


def test_a_net_whose_layers_see_the_whole_picture_cannot_be_tiled(tmp_path):
    normalized = layer("MVN", "data", "even") + convolution("score", 3, "even")
    net = tiny_nets.write(tmp_path, normalized, seed=0)
    assert opened(net).segment(picture(60, 80)).labels[0].shape == (60, 80)
    with pytest.raises(ValueError, match="in tiles: layer even .*statistics of the whole map"):
        opened(net, tile=32).segment(picture(60, 80))


@pytest.mark.parametrize("text, value", [("2GB", 2e9), ("1.5 g", 1.5e9), ("500MB", 5e8)])
def test_a_memory_is_a_number_with_a_unit(text, value):
    assert tiles.parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0GB"])
def test_a_memory_that_is_not_a_size_is_refused(text):
    with pytest.raises(ValueError, match="needs a size such as 2GB or 500MB"):
        tiles.parse_memory(text)


PROGRAM = """
import resource, sys
from solvers import infer
from fcn_common import command
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + 150_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
command.run(infer.main)
"""


@pytest.mark.skipif(not os.path.isfile("/proc/self/statm"), reason="needs Linux")
def test_the_photograph_for_which_memory_ends_is_named_and_the_others_are_done(tmp_path, program):
    layers = convolution("raw", 64, size=3) + convolution("score", 3, "raw")
    net = tiny_nets.write(tmp_path / "net", layers)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a", (40, 30)), ("large", (1000, 900)), ("z", (40, 30))):
        Image.new("RGB", size).save(photos / f"{name}.png")
    model = ["--net", net[0], "--weights", net[1], "--gpu", "cpu", "--out", tmp_path / "out"]
    ended = program("-c", PROGRAM, photos, *model)
    assert ended.returncode == 1
    assert "large.png: memory ended with 1000 x 900 pixels; --tile 1024" in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("error: ")
    assert sorted(n for n in os.listdir(tmp_path / "out") if n.endswith("_labels.png")) == [
        "a_labels.png",
        "z_labels.png",
    ]
