"""Arrays to and from messages, images from files, and the preprocessing of images for a net."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from .late_names import late_names
from .proto import caffe_pb2

#: The types of NVCaffe's `raw_data`, by StorageType.
RAW_DTYPES: Dict[int, str] = {
    caffe_pb2.DOUBLE: "<f8",
    caffe_pb2.FLOAT: "<f4",
    caffe_pb2.FLOAT16: "<f2",
}


def blobproto_to_array(blob: Any, return_diff: bool = False) -> np.ndarray:
    """Return the values of a BlobProto, or with `return_diff` its gradient, as float64.

    Raises ValueError where the number of values is not that of the message's shape.
    """
    if return_diff:
        raw, raw_type = blob.raw_diff, blob.raw_diff_type
        values = blob.double_diff or blob.diff
    else:
        raw, raw_type = blob.raw_data, blob.raw_data_type
        values = blob.double_data or blob.data
    if raw:
        if raw_type not in RAW_DTYPES:
            raise ValueError(f"BlobProto with raw values of the type {raw_type}")
        values = np.frombuffer(raw, RAW_DTYPES[raw_type])
    legacy = ("num", "channels", "height", "width")
    if any(blob.HasField(name) for name in legacy):
        shape = [getattr(blob, name) for name in legacy]
    else:
        shape = list(blob.shape.dim)
    data = np.array(values, dtype=float)
    if data.size != np.prod(shape, dtype=np.int64):
        noun = "gradients" if return_diff else "values"
        raise ValueError(f"BlobProto with {data.size} {noun}: its shape is {shape}")
    return data.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: Optional[np.ndarray] = None) -> Any:
    """Return a BlobProto with the values of `arr`, of any shape, and the gradient `diff`."""
    arr = np.asarray(arr)
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(np.asarray(diff).astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[np.ndarray]) -> bytes:
    """Return the bytes of a BlobProtoVector of the arrays."""
    blobs = [array_to_blobproto(arr) for arr in arraylist]
    return caffe_pb2.BlobProtoVector(blobs=blobs).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> List[np.ndarray]:
    """Return the arrays in the bytes of a BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: np.ndarray, label: Optional[int] = None) -> Any:
    """Return a Datum of an array C x H x W, as bytes for uint8 and as floats for other types.

    Raises ValueError for an array without 3 axes.
    """
    if arr.ndim != 3:
        raise ValueError(f"array of shape {arr.shape}: a Datum needs channels x height x width")
    channels, height, width = arr.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Any) -> np.ndarray:
    """Return the array of a Datum, C x H x W, uint8 or float64. Its label is `datum.label`."""
    shape = (datum.channels, datum.height, datum.width)
    if len(datum.data):
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape).copy()
    return np.array(datum.float_data).astype(float).reshape(shape)


class Transformer:
    """Converts images to values of a net's inputs, and back.

    The steps, in order: resize to the input, transpose (H x W x C to C x H x W), swap channels,
    scale, subtract the mean, scale again. A step that is not set is left out.

    inputs: the shape N x C x H x W of each input by its name, as in
        `{"data": net.blobs["data"].data.shape}`.
    """

    def __init__(self, inputs: Dict[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: Dict[str, Sequence[int]] = {}
        self.channel_swap: Dict[str, Sequence[int]] = {}
        self.raw_scale: Dict[str, float] = {}
        self.mean: Dict[str, np.ndarray] = {}
        self.input_scale: Dict[str, float] = {}

    def _shape(self, in_: str) -> Tuple[int, ...]:
        if in_ not in self.inputs:
            raise ValueError(f"{in_} is not one of the net inputs: {', '.join(self.inputs)}")
        return tuple(self.inputs[in_])

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Return the image `data`, H x W x C, as float32 values of the input `in_`."""
        shape = self._shape(in_)
        result = data.astype(np.float32)
        if result.shape[:2] != shape[2:]:
            result = resize_image(result, shape[2:])
        if in_ in self.transpose:
            result = result.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            result = result[list(self.channel_swap[in_]), :, :]
        if in_ in self.raw_scale:
            result *= self.raw_scale[in_]
        if in_ in self.mean:
            result -= self.mean[in_]
        if in_ in self.input_scale:
            result *= self.input_scale[in_]
        return result

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Return the image, H x W x C, whose `preprocess` gives `data`; its size stays."""
        self._shape(in_)
        result = data.copy().squeeze()
        if in_ in self.input_scale:
            result /= self.input_scale[in_]
        if in_ in self.mean:
            result += self.mean[in_]
        if in_ in self.raw_scale:
            result /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            result = result[np.argsort(self.channel_swap[in_]), :, :]
        if in_ in self.transpose:
            result = result.transpose(np.argsort(self.transpose[in_]))
        return result

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the axes: (2, 0, 1) turns H x W x C into C x H x W.

        Raises ValueError unless `order` has as many axes as the input without its batch axis.
        """
        axes = len(self._shape(in_)) - 1
        if len(order) != axes:
            raise ValueError(f"transpose of {in_}: {len(order)} axes in {order}, {axes} are needed")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the channels: (2, 1, 0) turns RGB into BGR.

        Raises ValueError unless `order` has as many channels as the input.
        """
        channels = self._shape(in_)[1]
        if len(order) != channels:
            raise ValueError(
                f"channel swap of {in_}: {len(order)} channels in {order}, {channels} are needed"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set the factor before the mean: 255 turns [0, 1] into the range of Caffe's models."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """Set the mean to subtract: C values, or an image C x H x W, which is resized.

        Raises ValueError for a mean that does not fit the input.
        """
        shape = self._shape(in_)
        if mean.ndim == 1:
            if mean.shape[0] != shape[1]:
                raise ValueError(f"mean of {in_}: {mean.shape[0]} values, {shape[1]} are needed")
            self.mean[in_] = mean[:, np.newaxis, np.newaxis]
            return
        extents = (1, *mean.shape) if mean.ndim == 2 else mean.shape
        if len(extents) != 3:
            raise ValueError(f"mean of {in_}: shape {mean.shape}, C or C x H x W is needed")
        if extents != shape[1:]:
            image = mean.reshape(extents).transpose(1, 2, 0)
            mean = _over_range(image, lambda unit: resize_image(unit, shape[2:])).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set the factor after the mean."""
        self._shape(in_)
        self.input_scale[in_] = scale


def _over_range(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `change` to the image scaled to [0, 1], and scale the result back."""
    low, high = float(image.min()), float(image.max())
    span = high - low or 1.0
    return change((image - low) / span) * span + low


def load_image(filename: str, color: bool = True) -> np.ndarray:
    """Return an image file as float32 in [0, 1]: H x W x 3 in RGB, or H x W x 1 without `color`.

    Raises OSError for a file that cannot be read.
    """
    # Imported here because scikit-image is slow to import and most programs read no images.
    import skimage.io
    from skimage.util import img_as_float

    try:
        image = img_as_float(skimage.io.imread(filename, as_gray=not color)).astype(np.float32)
    except FileNotFoundError:
        raise
    except Exception as error:  # image readers raise exceptions of any type, even SyntaxError
        # The first sentence tells the reason; the rest proposes packages to install.
        reason = str(error).partition(". ")[0]
        raise OSError(f"{filename}: no image that can be read ({reason})") from error
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
        return np.tile(image, (1, 1, 3)) if color else image
    return image[:, :, :3]


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """Return an image H x W x C, of any range, resized to `new_dims` (height, width), as float32.

    interp_order: of the spline interpolation; 1 is bilinear.
    """
    new_dims = tuple(new_dims)
    if im.shape[-1] in (1, 3):
        low, high = im.min(), im.max()
        if high <= low:
            return np.full((*new_dims, im.shape[-1]), low, dtype=np.float32)
        from skimage.transform import resize  # imported here: see `load_image`

        return _over_range(
            im, lambda unit: resize(unit, new_dims, order=interp_order, mode="constant")
        ).astype(np.float32)
    from scipy.ndimage import zoom  # imported here: see `load_image`

    scale = tuple(new / old for new, old in zip(new_dims, im.shape))
    # The last row may lie outside by a rounding error, where the default mode reads zeros.
    return zoom(im, (*scale, 1), order=interp_order, mode="nearest").astype(np.float32)


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int]) -> np.ndarray:
    """Return ten crops of each image: the corners, the centre, and the mirrors of these five.

    images: N images H x W x C of one size.
    crop_dims: (height, width).

    The result is 10N x height x width x C, float32. Raises ValueError for crops that are larger
    than the images.
    """
    im_shape, (height, width) = np.array(images[0].shape), crop_dims
    if height > im_shape[0] or width > im_shape[1]:
        raise ValueError(
            f"images of {im_shape[0]} x {im_shape[1]} (height x width) are smaller than the crops "
            f"of {height} x {width}; resize the images to that size or more (image_dims)"
        )
    top, left = im_shape[0] - height, im_shape[1] - width
    middle = (int(np.floor(top / 2)), int(np.floor(left / 2)))
    corners = [(0, 0), (0, left), (top, 0), (top, left), middle]
    crops = []
    for image in images:
        five = [image[y : y + height, x : x + width, :] for y, x in corners]
        crops += five + [crop[:, ::-1, :] for crop in five]
    return np.array(crops, dtype=np.float32)


#: scikit-image and SciPy are slow to import, and most programs read no images.
__getattr__, __dir__ = late_names(
    __name__,
    {"resize": "skimage.transform:resize", "skimage": "skimage.io", "zoom": "scipy.ndimage:zoom"},
)
