"""caffe.io: messages, images, Transformer. Agreement with BVLC Caffe: tests/oracle."""

import numpy as np
import pytest
from caffe import io
from caffe.proto import caffe_pb2
from PIL import Image


@pytest.fixture
def draw():
    return np.random.RandomState(0)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (7,), (), (0, 3)])
def test_an_array_of_any_shape_survives_its_message(draw, shape):
    array = np.asarray(draw.randn(*shape), np.float32)
    blob = caffe_pb2.BlobProto.FromString(
        io.array_to_blobproto(array, 2 * array).SerializeToString()
    )
    np.testing.assert_array_equal(io.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), 2 * array)
    assert io.blobproto_to_array(blob).shape == shape


def test_a_message_with_num_channels_height_and_width_is_read():
    blob = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, data=range(6))
    assert io.blobproto_to_array(blob).tolist() == [[[[0, 1, 2]], [[3, 4, 5]]]]


def test_a_message_of_doubles_is_read():
    blob = caffe_pb2.BlobProto(double_data=[0.1, 0.2], shape={"dim": [2]})
    assert io.blobproto_to_array(blob).tolist() == [0.1, 0.2]


def test_a_message_with_another_number_of_values_than_its_shape_is_refused():
    blob = caffe_pb2.BlobProto(data=[1, 2, 3], shape={"dim": [2, 2]})
    with pytest.raises(ValueError, match=r"3 values: its shape is \[2, 2\]"):
        io.blobproto_to_array(blob)
    blob = caffe_pb2.BlobProto(data=[1, 2, 3], shape={"dim": [3]})
    with pytest.raises(ValueError, match=r"0 gradients: its shape is \[3\]"):
        io.blobproto_to_array(blob, return_diff=True)


def test_a_list_of_arrays_survives_its_message(draw):
    arrays = [draw.randn(2, 3).astype(np.float32), draw.randn(4).astype(np.float32)]
    back = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str(arrays))
    assert len(back) == 2
    for array, again in zip(arrays, back):
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, int])
def test_a_datum_holds_uint8_as_bytes_and_other_types_as_floats(draw, kind):
    array = draw.randint(0, 256, (3, 4, 5)).astype(kind)
    datum = io.array_to_datum(array, label=7)
    assert (datum.label, bool(datum.data), bool(datum.float_data)) == (
        7,
        kind is np.uint8,
        kind is not np.uint8,
    )
    back = io.datum_to_array(datum)
    np.testing.assert_array_equal(back, array)
    back[0, 0, 0] = 1


def test_a_datum_of_another_number_of_axes_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\): a Datum needs channels x height x width"):
        io.array_to_datum(np.zeros((4, 5)))


@pytest.fixture
def change():
    return io.Transformer({"data": (1, 3, 20, 24)})


def test_preprocess_applies_its_steps_in_the_order_of_caffe(draw, change):
    photo = draw.rand(20, 24, 3).astype(np.float32)
    before = photo.copy()
    change.set_input_scale("data", 0.5)
    change.set_mean("data", np.array([1.0, 2.0, 3.0]))
    change.set_raw_scale("data", 255)
    change.set_channel_swap("data", (2, 1, 0))
    change.set_transpose("data", (2, 0, 1))
    ready = change.preprocess("data", photo)
    mean = np.array([1.0, 2.0, 3.0])[:, None, None]
    expected = (photo.transpose(2, 0, 1)[::-1] * 255 - mean) * 0.5
    np.testing.assert_allclose(ready, expected, rtol=1e-5)
    assert ready.dtype == np.float32
    np.testing.assert_array_equal(photo, before)
    np.testing.assert_allclose(change.deprocess("data", ready[None]), photo, atol=1e-6)


def test_without_settings_preprocess_only_converts_to_float32(change):
    image = np.arange(20 * 24 * 3).reshape(20, 24, 3)
    ready = change.preprocess("data", image)
    assert ready.dtype == np.float32
    np.testing.assert_array_equal(ready, image)


def test_preprocess_resizes_to_the_input(draw, change):
    assert change.preprocess("data", draw.rand(31, 17, 3)).shape == (20, 24, 3)


def test_a_mean_image_of_another_size_is_resized_within_its_range(draw, change):
    mean = draw.rand(3, 9, 11).astype(np.float32) * 100
    change.set_mean("data", mean)
    resized = change.mean["data"]
    assert resized.shape == (3, 20, 24)
    assert mean.min() - 1e-3 <= resized.min() and resized.max() <= mean.max() + 1e-3
    change.set_mean("data", np.full((3, 9, 11), 5.0))
    np.testing.assert_array_equal(change.mean["data"], np.full((3, 20, 24), 5.0))


@pytest.mark.parametrize(
    "method, value, message",
    [
        ("set_transpose", (1, 0), "transpose of data: 2 axes in .* 3 are needed"),
        ("set_channel_swap", (1, 0), "channel swap of data: 2 channels in .* 3 are needed"),
        ("set_mean", np.zeros(4), "mean of data: 4 values, 3 are needed"),
        ("set_mean", np.zeros((2, 3, 4, 5)), r"mean of data: shape \(2, 3, 4, 5\)"),
    ],
)
def test_a_setting_that_does_not_fit_the_input_is_refused(change, method, value, message):
    with pytest.raises(ValueError, match=message):
        getattr(change, method)("data", value)


@pytest.mark.parametrize("method", ["set_transpose", "set_mean", "set_raw_scale", "preprocess"])
def test_an_unknown_input_is_refused(change, method):
    with pytest.raises(ValueError, match="image is not one of the net inputs: data"):
        getattr(change, method)("image", np.zeros(3))


@pytest.mark.parametrize(
    "mode, shape, grey", [("RGB", (5, 7, 3), 3), ("L", (5, 7, 3), 1), ("RGBA", (5, 7, 3), 3)]
)
def test_images_load_as_rgb_in_0_to_1(tmp_path, draw, mode, shape, grey):
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = draw.randint(0, 256, (5, 7, channels)).astype(np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(tmp_path / "image.png")
    image = io.load_image(str(tmp_path / "image.png"))
    assert (image.shape, image.dtype) == (shape, np.float32)
    np.testing.assert_allclose(image, np.broadcast_to(pixels[:, :, :3], shape) / 255, atol=1e-6)


def test_an_image_loads_as_one_channel_without_color(tmp_path, draw):
    Image.fromarray(draw.randint(0, 256, (5, 7, 3)).astype(np.uint8)).save(tmp_path / "i.png")
    image = io.load_image(str(tmp_path / "i.png"), color=False)
    assert (image.shape, image.dtype) == ((5, 7, 1), np.float32)


@pytest.mark.filterwarnings("ignore:.*plugin is deprecated")
def test_a_file_that_is_not_an_image_is_refused_by_name(tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(OSError, match="no.png: no image that can be read"):
        io.load_image(str(tmp_path / "no.png"))
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        io.load_image(str(tmp_path / "none.png"))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_resizing_keeps_a_ramp_a_ramp(channels):
    ramp = np.tile(np.linspace(-50, 150, 40)[:, None, None], (1, 30, channels))
    small = io.resize_image(ramp, (20, 15))
    assert (small.shape, small.dtype) == ((20, 15, channels), np.float32)
    assert (np.diff(small[2:-2], axis=0) > 0).all()
    np.testing.assert_allclose(small.mean(), 50, atol=2)


def test_resizing_keeps_a_constant():
    np.testing.assert_array_equal(io.resize_image(np.full((5, 6, 3), 2.0), (3, 4)), 2.0)


def test_oversample_gives_corners_centre_and_mirrors(draw):
    image = draw.rand(9, 12, 3).astype(np.float32)
    crops = io.oversample([image, image], (4, 5))
    assert (crops.shape, crops.dtype) == ((20, 4, 5, 3), np.float32)
    np.testing.assert_array_equal(crops[0], image[:4, :5])
    np.testing.assert_array_equal(crops[3], image[5:, 7:])
    np.testing.assert_array_equal(crops[4], image[2:6, 3:8])
    np.testing.assert_array_equal(crops[5:10], crops[:5, :, ::-1])
    np.testing.assert_array_equal(crops[10:], crops[:10])
