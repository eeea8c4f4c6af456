"""coord_map: maps, crops, errors. Agreement with BVLC Caffe: tests/oracle/test_language.py."""

import numpy as np
import pytest
from caffe import coord_map as C
from caffe.net_spec import layers as L
from caffe.net_spec import to_proto


def approx(coord_map, axis, scale, shift):
    assert coord_map[0] == axis
    np.testing.assert_allclose(np.atleast_1d(coord_map[1]), np.atleast_1d(scale))
    np.testing.assert_allclose(np.atleast_1d(coord_map[2]), np.atleast_1d(shift))


@pytest.fixture
def data():
    return L.Input()


@pytest.mark.parametrize("layer", ["Convolution", "Pooling", "Im2col"])
@pytest.mark.parametrize(
    "settings, scale, shift",
    [
        ({"kernel_size": 3}, 1, -1),
        ({"kernel_size": 3, "pad": 100}, 1, 99),
        ({"kernel_size": 4, "stride": 2, "pad": 1}, 0.5, -0.25),
        ({"kernel_size": 3, "dilation": 4}, 1, -4),
        ({"kernel_size": [3, 5], "pad": [1, 0]}, 1, [0, -2]),
        ({"kernel_h": 3, "kernel_w": 1, "stride_w": 2}, [1, 0.5], [-1, 0]),
    ],
)
def test_a_window_divides_by_its_stride_and_shifts_to_its_middle(
    data, layer, settings, scale, shift
):
    approx(C.coord_map(getattr(L, layer)(data, **settings).fn), 1, scale, shift)


@pytest.mark.parametrize("settings", [{"kernel_size": 4, "stride": 2, "pad": 1}])
def test_deconvolution_is_the_inverse_of_convolution(data, settings):
    up = C.coord_map(L.Deconvolution(data, convolution_param=settings).fn)
    approx(up, *C.inverse(C.coord_map(L.Convolution(data, **settings).fn)))


def test_crop_shifts_by_its_offset(data):
    approx(C.coord_map(L.Crop(data, data, axis=2, offset=5).fn), 1, 1, -5)
    approx(C.coord_map(L.Crop(data, data, crop_param={"offset": [3, 4]}).fn), 1, 1, [-3, -4])


@pytest.mark.parametrize("layer", C.PASS_THROUGH_LAYERS)
def test_a_pointwise_layer_keeps_coordinates(data, layer):
    assert C.coord_map(getattr(L, layer)(data).fn) == (None, 1, 0)


@pytest.mark.parametrize("layer", ["InnerProduct", "Flatten", "Concat", "Input", "Python"])
def test_a_layer_without_a_map_is_refused_by_name(layer):
    with pytest.raises(C.UndefinedMapException, match=layer):
        C.coord_map(getattr(L, layer)().fn)


@pytest.mark.parametrize(
    "settings", [{"global_pooling": True}, {"pooling_param": {"global_pooling": True}}]
)
def test_a_pooling_over_the_whole_bottom_has_no_map(data, settings):
    fn = L.Pooling(data, **settings).fn
    with pytest.raises(C.UndefinedMapException, match="Pooling"):
        C.coord_map(fn)
    with pytest.raises(ValueError, match="Pooling layer .*kernel_size"):
        C.conv_params(fn)


def test_a_window_without_a_size_is_refused(data):
    with pytest.raises(ValueError, match=r"Convolution layer with {'stride': 2}.*kernel_size"):
        C.coord_map(L.Convolution(data, stride=2).fn)


def test_maps_compose_from_right_to_left_and_invert():
    first, then = (1, 2.0, 3.0), (1, 4.0, 5.0)
    assert C.compose(then, first) == (1, 8, 17)
    assert C.compose((None, 2, 3), (1, 4, 5)) == (1, 8, 13)
    assert C.compose(first, C.inverse(first)) == (1, 1, 0)


def test_maps_from_different_axes_do_not_compose(data):
    with pytest.raises(C.AxisMismatchException, match="axis 1 on and from axis 2"):
        C.compose((1, 1, 0), (2, 1, 0))
    top = L.Convolution(L.Convolution(data, kernel_size=3), kernel_size=3, axis=2)
    with pytest.raises(C.AxisMismatchException):
        C.coord_map_from_to(top, data)


def test_a_map_goes_through_all_layers_between_two_blobs_in_either_direction(data):
    down = L.Pooling(L.Convolution(data, kernel_size=3, pad=100), kernel_size=2, stride=2)
    up = L.Deconvolution(L.ReLU(down), convolution_param={"kernel_size": 4, "stride": 2})
    approx(C.coord_map_from_to(up, data), 1, 1, -100)
    approx(C.coord_map_from_to(data, up), 1, 1, 100)
    assert C.coord_map_from_to(up, up) == (None, 1, 0)


def test_a_crop_has_the_coordinates_of_its_first_bottom_alone(data):
    other = L.Input()
    cut = L.Crop(other, L.Convolution(data, kernel_size=3), axis=2, offset=1)
    approx(C.coord_map_from_to(cut, other), 1, 1, 1)
    with pytest.raises(RuntimeError, match="no map between Crop and Input"):
        C.coord_map_from_to(cut, data)


def test_a_map_avoids_layers_without_a_map_where_it_can(data):
    both = L.Eltwise(L.InnerProduct(data), L.Convolution(data, kernel_size=3))
    approx(C.coord_map_from_to(both, data), 1, 1, 1)
    with pytest.raises(RuntimeError, match="InnerProduct and Input"):
        C.coord_map_from_to(L.InnerProduct(data), data)


def test_crop_cuts_one_blob_to_the_place_of_another(data):
    down = L.Convolution(data, kernel_size=3, pad=7, stride=2)
    up = L.Deconvolution(down, convolution_param={"kernel_size": 3, "stride": 2})
    layer = to_proto(C.crop(up, data)).layer[-1]
    assert layer.type == "Crop"
    assert (layer.crop_param.axis, list(layer.crop_param.offset)) == (2, [7])


def test_crop_has_an_offset_for_each_axis_where_they_differ(data):
    crop = C.crop(L.Convolution(data, kernel_size=[3, 5], pad=[4, 3]), data)
    assert crop.fn.params["crop_param"] == {"axis": 2, "offset": [3, 1]}


def test_crop_to_a_blob_of_the_same_coordinates_has_offset_0(data):
    assert C.crop(L.ReLU(data), data).fn.params["crop_param"] == {"axis": 2, "offset": [0]}


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kernel_size": 2, "stride": 2}, r"scale \[2.0\], 1 is needed"),
        ({"kernel_size": 2, "pad": 3}, r"offset \[2.5\], a whole number"),
        ({"kernel_size": 3}, r"offset \[-1.0\], 0 or more is needed"),
    ],
)
def test_a_crop_that_is_impossible_is_refused_with_its_numbers(data, settings, message):
    with pytest.raises(ValueError, match=rf"Convolution to one of Input: {message}"):
        C.crop(L.Convolution(data, **settings), data)
