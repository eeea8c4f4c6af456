"""The records of the data sets."""

import pytest

import net_gen
from fcn_data import DATA_SETS, DEMO, VOC


def test_the_param_str_of_voc_is_the_published_one():
    assert repr(VOC.parameters("train")) == (
        "{'sbdd_dir': '../data/sbdd/dataset', 'seed': 1337, 'split': 'train', "
        "'mean': (104.00699, 116.66877, 122.67892)}"
    )
    assert repr(VOC.parameters("val", "../../data")) == (
        "{'voc_dir': '../../data/pascal/VOC2011', 'seed': 1337, 'split': 'seg11valid', "
        "'mean': (104.00699, 116.66877, 122.67892)}"
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_record_of_voc_and_the_published_prototxts_name_the_same_layer(split):
    (layer,) = [x for x in net_gen.fcn("voc-fcn8s", split).layer if x.type == "Python"]
    record = VOC.splits[split]
    assert (layer.python_param.module, layer.python_param.layer) == (record.module, record.layer)
    assert layer.python_param.param_str == repr(VOC.parameters(split))
    assert tuple(layer.top) == VOC.tops


def test_a_key_that_the_published_files_lack_is_written_where_it_differs():
    assert list(VOC.parameters("train", classes=5))[-1] == "classes"
    assert "classes" not in VOC.parameters("train", classes=21)
    assert VOC.parameters("train", seed=None)["seed"] is None
    assert VOC.parameters("val", sbdd_dir="x", voc_dir=None) == VOC.parameters("val")


def test_a_key_that_no_layer_has_is_named():
    with pytest.raises(ValueError, match="'voc_dri'"):
        VOC.parameters("val", voc_dri="x")


def test_the_demo_has_the_classes_and_layouts_of_voc():
    assert DATA_SETS["voc"] is VOC and DATA_SETS["demo"] is DEMO
    assert DEMO.classes == VOC.classes and len(VOC.classes) == 21
    assert DEMO.parameters("train", "../data/demo")["sbdd_dir"] == "../data/demo/sbdd/dataset"
    assert DEMO.parameters("test")["split"] == "test"
