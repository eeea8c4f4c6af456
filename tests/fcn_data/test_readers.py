"""A picture means the same in every format: upright, 0..255, the channels that a net reads."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcn_data.readers import as_rgb, count_channels, orientation, read_channels, read_image

GREY = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
COLOUR = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)


@pytest.mark.parametrize("turn, back", [(3, "ROTATE_180"), (6, "ROTATE_90"), (8, "ROTATE_270")])
def test_a_picture_with_an_exif_orientation_is_read_upright(tmp_path, turn, back):
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(COLOUR).transpose(Image.Transpose[back])
    path = str(tmp_path / "phone.png")
    stored.save(path, exif=exif)
    assert np.array_equal(read_image(path), COLOUR)
    assert np.array_equal(read_channels(path), COLOUR[:, :, ::-1])
    assert orientation(path) == turn


def test_an_8_bit_picture_keeps_its_bytes(tmp_path):
    path = str(tmp_path / "plain.jpg")
    Image.fromarray(COLOUR).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert read_channels(path).dtype == np.uint8
    assert np.array_equal(read_channels(path), expected[:, :, ::-1])
    assert orientation(path) == 1


@pytest.mark.parametrize(
    "name, array",
    [
        ("8.png", GREY),
        ("16.png", GREY.astype(np.uint16) * 257),
        ("16.tif", GREY.astype(np.uint16) * 257),
        ("unit.tif", GREY.astype(np.float32) / 255),
        ("float.tif", GREY.astype(np.float32)),
    ],
)
def test_grey_pictures_of_every_depth_mean_the_same(tmp_path, name, array):
    path = str(tmp_path / name)
    Image.fromarray(array).save(path)
    assert np.abs(read_channels(path, 1)[:, :, 0] - GREY.astype(np.float64)).max() < 1e-4
    assert np.array_equal(read_image(path), np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 4000.0), (0.0, np.nan)])
def test_floats_of_an_unknown_range_are_refused(tmp_path, low, high):
    path = str(tmp_path / "depth.tif")
    Image.fromarray(np.array([[low, high]], np.float32)).save(path)
    with pytest.raises(ValueError, match=r"depth.tif: has values from .*needs 0\.\.1 or 0\.\.255"):
        read_image(path)


def test_palettes_transparency_and_cmyk_are_read_as_colours(tmp_path):
    flat = np.full((4, 5, 3), (200, 30, 60), np.uint8)
    image = Image.fromarray(flat)
    for name, picture in (
        ("palette.png", image.quantize(4)),
        ("alpha.png", image.convert("RGBA")),
        ("cmyk.tif", image.convert("CMYK")),
    ):
        picture.save(tmp_path / name)
        assert np.abs(read_image(str(tmp_path / name)).astype(int) - flat).max() <= 2, name


def test_four_channels_come_from_samples_or_from_pages(tmp_path):
    planes = np.random.RandomState(1).randint(0, 256, (4, 6, 9)).astype(np.uint8)
    Image.fromarray(planes.transpose(1, 2, 0).copy()).save(tmp_path / "rgba.png")
    pages = [Image.fromarray(plane) for plane in planes]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    for name in ("rgba.png", "pages.tif"):
        path = str(tmp_path / name)
        assert count_channels(path) == 4
        assert np.array_equal(read_channels(path, 4), planes.transpose(1, 2, 0))


def test_six_samples_of_16_bits_are_read(tmp_path):
    samples = np.random.RandomState(2).randint(0, 65536, (5, 7, 6)).astype(np.uint16)
    path = str(tmp_path / "six.tif")
    tifffile.imwrite(path, samples, photometric="minisblack", planarconfig="contig")
    assert count_channels(path) == 6
    assert np.allclose(read_channels(path, 6), samples / 257, atol=1e-4)


def test_another_number_of_channels_is_refused(tmp_path):
    path = str(tmp_path / "rgb.png")
    Image.fromarray(COLOUR).save(path)
    with pytest.raises(ValueError, match=r"rgb.png: has 3 channels of 1 sizes, needs 4"):
        read_channels(path, 4)


def test_every_number_of_channels_can_be_looked_at():
    for channels in (1, 3, 4):
        pixels = np.full((2, 3, channels), 7.6, np.float32)
        assert as_rgb(pixels).shape == (2, 3, 3) and as_rgb(pixels).dtype == np.uint8
        assert as_rgb(pixels).max() == 8


def test_a_truncated_picture_is_refused_with_its_name(tmp_path):
    path = tmp_path / "cut.png"
    Image.fromarray(COLOUR).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(OSError, match=r"cut.png: is not a readable image"):
        read_image(str(path))
