"""Nets with two heads, two trunks or four input channels: those of the papers' other data sets."""

import hashlib

import caffe
import pytest

import net_gen
from fcn_common.voc import PALETTE
from fcn_data import DATA_SETS, DataSet, Input, Labels, Split
from net_gen import Branch, Head, Image, Variant

BGR = (0.0, 0.0, 0.0)


def labels(name, count):
    return Labels(name, tuple(map(str, range(count))), PALETTE)


def splits(**fields):
    return {
        "train": Split("trainval", "trainval", **fields),
        "val": Split("test", "test", images=200, **fields),
    }


SIFT_FLOW = DataSet(
    "siftflow",
    "data",
    (Input("data", BGR),),
    (labels("sem", 33), labels("geo", 3)),
    splits(
        module="siftflow_layers",
        layer="SIFTFlowSegDataLayer",
        folders={"siftflow_dir": "sift-flow"},
        keys=("siftflow_dir", "seed", "split"),
    ),
)
NYUD = DataSet(
    "nyud",
    "data",
    (Input("color", BGR), Input("depth", (0.0,)), Input("hha", BGR)),
    (labels("label", 40),),
    splits(
        module="nyud_layers",
        layer="NYUDSegDataLayer",
        folders={"nyud_dir": "nyud"},
        keys=("tops", "seed", "nyud_dir", "split"),
    ),
)
COLOR, DEPTH, HHA = (Image(name, name) for name in ("color", "depth", "hha"))
TWO_HEADS = (Head("_sem", "sem"), Head("_geo", "geo", "loss_geo"))
VARIANTS = {
    "siftflow-fcn32s": Variant(32, 1e-10, data_set="siftflow", heads=TWO_HEADS),
    "siftflow-fcn8s": Variant(8, 1e-12, data_set="siftflow", heads=TWO_HEADS),
    "nyud-fcn32s-color": Variant(
        32, 1e-10, data_set="nyud", branches=(Branch((Image("data", "color"),)),)
    ),
    "nyud-fcn32s-color-d": Variant(
        *(32, 1e-10),
        data_set="nyud",
        branches=(Branch((COLOR, DEPTH), renamed={"conv1_1": "conv1_1_bgrd"}),),
    ),
    "nyud-fcn32s-color-hha": Variant(
        *(32, 1e-12),
        data_set="nyud",
        branches=(Branch((COLOR,), "color"), Branch((HHA,), "hha")),
    ),
}
#: sha256 of the published trainval.prototxt.
PUBLISHED = {
    "siftflow-fcn32s": "304ee9631e231be319b78aaae86d7fc0774c9dcca3fe85b095128a50b5025f24",
    "siftflow-fcn8s": "781f04af03c5c257593318ad4018af84d52bf7c1f7ac8d6ce8c0a89ca4c6f028",
    "nyud-fcn32s-color": "00900c24f08e21fe0fcee3c540d0962c364e578912e5fccde3a0ba814e05bb2a",
    "nyud-fcn32s-color-d": "dbf64806932927ecaa28e3c13439b46859b611ef121a073f634d1cfb449411bb",
    "nyud-fcn32s-color-hha": "931faa59bac8c63e08092077f1a080e904032baf247491a54223164581fae806",
}


@pytest.fixture(autouse=True)
def data_sets(monkeypatch):
    for data_set in (SIFT_FLOW, NYUD):
        monkeypatch.setitem(DATA_SETS, data_set.name, data_set)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_net_is_the_published_file_byte_for_byte(name):
    text = net_gen.to_text(net_gen.fcn(VARIANTS[name], "train"))
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED[name]


def test_a_head_stands_complete_before_the_next_and_has_its_own_classes():
    net = net_gen.fcn(VARIANTS["siftflow-fcn32s"], "train")
    heads = [layer.name for layer in net.layer][-8:]
    assert heads == [
        *("score_fr_sem", "upscore_sem", "score_sem", "loss"),
        *("score_fr_geo", "upscore_geo", "score_geo", "loss_geo"),
    ]
    outputs = {layer.name: layer.convolution_param.num_output for layer in net.layer}
    assert (outputs["score_fr_sem"], outputs["score_fr_geo"]) == (33, 3)
    assert list(net.layer[0].top) == ["data", "sem", "geo"]


def test_a_net_of_two_trunks_averages_their_scores():
    net = net_gen.fcn(VARIANTS["nyud-fcn32s-color-hha"], "deploy")
    layers = {layer.name: layer for layer in net.layer}
    assert list(layers["score_fused"].bottom) == ["score_frcolor", "score_frhha"]
    assert list(layers["score_fused"].eltwise_param.coeff) == [0.5, 0.5]
    assert list(layers["score"].bottom) == ["upscore", "color"]
    assert {name for name, layer in layers.items() if layer.type == "Input"} == {
        "input_color",
        "input_hha",
    }


def test_images_of_a_branch_are_joined_along_the_channels(tmp_path):
    net = net_gen.fcn(VARIANTS["nyud-fcn32s-color-d"], "deploy", width=1 / 16)
    path = tmp_path / "net.prototxt"
    net_gen.write(net, path)
    built = caffe.Net(str(path), caffe.TEST)
    assert built.blobs["data"].data.shape == (1, 4, 500, 500)
    assert built.params["conv1_1_bgrd"][0].data.shape == (4, 4, 3, 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_is_worked_out_for_every_trunk_of_a_net(name):
    net = VARIANTS[name]
    assert net_gen.padding.smallest_input(net) == (1, 1)
    pad = net_gen.padding.least_padding(net, 200)
    assert pad < 100
    padded = net_gen.padding.with_padding(net, pad)
    firsts = net_gen.padding.first_convolutions(padded)
    assert len(firsts) == len(net.branches)
    assert all(list(layer.convolution_param.pad) == [pad] for layer in firsts)


def test_the_files_have_the_names_of_the_splits_of_the_data_set(tmp_path):
    paths = net_gen.generate(VARIANTS["siftflow-fcn32s"], tmp_path)
    names = ["trainval.prototxt", "test.prototxt", "deploy.prototxt", "solver.prototxt"]
    assert [path.name for path in paths] == names
    solver = net_gen.solver(VARIANTS["siftflow-fcn32s"], snapshot=None)
    assert (solver.train_net, list(solver.test_net)) == (names[0], [names[1]])
    assert list(solver.test_iter) == [200] and not solver.HasField("snapshot")


@pytest.mark.parametrize(
    "variant, arguments, message",
    [
        ("siftflow-fcn8s", {"classes": 5}, "classes is 5, needs None for a net with 2 heads"),
        ("nyud-fcn32s-color-d", {"channels": 4}, "channels is 4, needs None for a net with 2"),
    ],
)
def test_one_number_for_several_heads_or_images_is_refused(variant, arguments, message):
    with pytest.raises(ValueError, match=message):
        net_gen.fcn(VARIANTS[variant], "train", **arguments)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stride": 16}, r"stride is 16, trunk vgg16 \(2 times\) needs one of 32"),
        ({"data_set": "ade"}, "data_set is 'ade', needs one of voc"),
        ({"heads": (Head(label="depth"),)}, "label is 'depth', needs one of label"),
        ({"branches": (Branch(),)}, "input is 'data', needs one of color, depth, hha"),
    ],
)
def test_a_variant_that_makes_no_net_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        net_gen.fcn(VARIANTS["nyud-fcn32s-color-hha"]._replace(**changes), "train")
