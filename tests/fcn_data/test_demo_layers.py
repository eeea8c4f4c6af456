"""The layer over the demo's crops, in a net."""

import caffe
import numpy as np
import pytest

MEAN = (104.00699, 116.66877, 122.67892)


@pytest.fixture
def crops(tmp_path):
    rng = np.random.RandomState(0)
    path = tmp_path / "train.npz"
    data = rng.randint(0, 256, (10, 8, 8, 3)).astype(np.uint8)
    np.savez(path, data=data, label=np.arange(10, dtype=np.uint8))
    return path


def net(crops, tops=("data", "label"), **changed):
    params = {"file": str(crops), "batch": 4, "seed": 5, "mean": MEAN, **changed}
    params = {key: value for key, value in params.items() if value is not None}
    path = crops.parent / "data.prototxt"
    path.write_text(
        "layer { name: 'data' type: 'Python' "
        + "".join(f"top: '{top}' " for top in tops)
        + "python_param { module: 'fcn_data.demo_layers' layer: 'ObjectsDataLayer' "
        + f'param_str: "{params!r}" }} }}'
    )
    return caffe.Net(str(path), caffe.TRAIN)


def labels(data_net, n):
    return [data_net.forward()["label"].astype(int).tolist() for _ in range(n)]


def test_a_batch_is_bgr_minus_the_mean_with_its_labels(crops):
    data_net = net(crops)
    data_net.forward()
    with np.load(crops) as file:
        batch = data_net.blobs["label"].data.astype(int)
        bgr = file["data"][batch][..., ::-1].transpose(0, 3, 1, 2)
    assert data_net.blobs["data"].data.shape == (4, 3, 8, 8)
    expected = np.float32(bgr) - np.float32(MEAN)[:, None, None]
    assert np.array_equal(data_net.blobs["data"].data, expected)


def test_the_seed_determines_the_order(crops):
    assert labels(net(crops), 5) == labels(net(crops), 5)
    assert labels(net(crops), 5) != labels(net(crops, seed=6), 5)
    assert labels(net(crops, seed=None), 9) != labels(net(crops, seed=None), 9)


def test_without_shuffling_the_crops_come_in_their_order(crops):
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]
    assert labels(net(crops, shuffle=False), 3) == expected


@pytest.mark.parametrize("shuffle", [True, False])
def test_skip_advances_as_forward_passes_do(crops, shuffle):
    expected = labels(net(crops, shuffle=shuffle), 6)
    data_net = net(crops, shuffle=shuffle)
    assert labels(data_net, 1) == expected[:1]
    data_net.layers[0].skip(3)
    assert labels(data_net, 2) == expected[4:]


def refused(kind, crops, **kwargs):
    with pytest.raises(kind) as error:
        net(crops, **kwargs)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_wrong_parameter_is_named(crops):
    assert "lacks 'mean'" in refused(ValueError, crops, mean=None)
    assert "'bach'" in refused(ValueError, crops, bach=3)
    assert "batch is 0" in refused(ValueError, crops, batch=0)
    assert "seed is 'x', needs int or None" in refused(ValueError, crops, seed="x")
    assert "1 tops" in refused(ValueError, crops, tops=("data",))


def test_a_missing_or_damaged_file_is_named(crops):
    nowhere = str(crops.parent / "none.npz")
    assert "none.npz: no such file" in refused(OSError, crops, file=nowhere)
    np.savez(crops, data=np.zeros((3, 8, 8)), label=np.zeros(3))
    assert "needs uint8 N x S x S x 3" in refused(ValueError, crops)
    crops.write_bytes(crops.read_bytes()[:100])
    assert "not a readable file of crops" in refused(OSError, crops)
