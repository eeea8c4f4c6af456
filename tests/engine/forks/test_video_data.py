"""VideoData: a video file as SSD reads one, clips as C3D does, segments as TSN does."""

from __future__ import annotations

import caffe
import cv2
import numpy as np
import pytest
from caffe.errors import CaffeError, LayerError, LayerFileError

from tests.engine.nets import build

COUNT, SIZE = 10, (12, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of 10 frames, v.avi; the frames in `rgb`; and flows of 8 frames in `flow`."""
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.RandomState(0)
    shape = (SIZE[1], SIZE[0])
    video = cv2.VideoWriter(str(folder / "v.avi"), cv2.VideoWriter_fourcc(*"FFV1"), 10, shape)
    for name in ("rgb", "flow"):
        (folder / name).mkdir()
    for i in range(COUNT):
        frame = random.randint(0, 256, (*SIZE, 3)).astype(np.uint8)
        video.write(frame)
        cv2.imwrite(str(folder / "rgb" / f"{i + 1:06d}.jpg"), frame)
        cv2.imwrite(str(folder / "rgb" / f"p{i + 1}.png"), frame)
        for axis in "xy":
            cv2.imwrite(str(folder / "flow" / f"{axis}{i + 1}.png"), frame[..., "xy".index(axis)])
    video.release()
    (folder / "segments.txt").write_text("rgb 9 3\n")
    (folder / "flows.txt").write_text("flow 8 1\n")
    return folder


def frames(folder):
    return [cv2.imread(str(folder / "rgb" / f"p{i + 1}.png")) for i in range(COUNT)]


def planes(*images):
    return np.concatenate([image.transpose(2, 0, 1) for image in images])


def net(tmp_path, settings, phase=caffe.TEST, form="layer", type_="'VideoData'"):
    text = f"{form} {{ name: 'd' type: {type_} top: 'x' top: 'y' {settings} }}"
    return build(tmp_path, text, phase)


def forward(net):
    net.forward()
    return net.blobs["x"].data.copy()


def file_of_ssd(folder, more="", transform=""):
    video = f"video_data_param {{ video_type: VIDEO video_file: '{folder}/v.avi' {more} }}"
    return f"data_param {{ batch_size: 2 }} {video} transform_param {{ {transform} }}"


def test_a_video_file_gives_its_frames_in_turn_and_labels_of_zero(folder, tmp_path):
    video = net(tmp_path, file_of_ssd(folder, "skip_frames: 1"))
    for i in (1, 5):
        assert np.array_equal(
            forward(video), np.stack([planes(frames(folder)[n]) for n in (i, i + 2)])
        )
    assert video.blobs["y"].data.tolist() == [0, 0]


def test_after_the_last_frame_the_process_gets_sigint_as_from_ssd(folder, tmp_path):
    video = net(tmp_path, file_of_ssd(folder, "skip_frames: 3"))
    last = forward(video)
    assert np.array_equal(last[1], planes(frames(folder)[7]))
    with pytest.raises(KeyboardInterrupt):
        video.forward()
    assert np.array_equal(video.blobs["x"].data, last)


def test_resize_param_resizes_frames_before_the_mean_is_subtracted(folder, tmp_path):
    transform = "mean_value: 10 resize_param { height: 6 width: 8 }"
    expected = planes(cv2.resize(frames(folder)[0], (8, 6))).astype(np.float32) - 10
    assert np.array_equal(forward(net(tmp_path, file_of_ssd(folder, "", transform)))[0], expected)


def clips(folder, lines, settings="", field="video_data_param"):
    (folder / "clips.txt").write_text(lines)
    return (
        f"{field} {{ source: '{folder}/clips.txt' root_folder: '{folder}/' new_length: 3 "
        f"{settings} }}"
    )


def test_a_clip_has_an_axis_of_frames_and_its_file_counts_them_from_zero(folder, tmp_path):
    settings = clips(folder, "v.avi 1 5\n", "batch_size: 2 new_height: 8 new_width: 10")
    x = forward(net(tmp_path, settings + " transform_param { crop_size: 6 }"))
    assert x.shape == (2, 3, 3, 6, 6) and np.array_equal(x[0], x[1])
    for i in range(3):
        expected = planes(cv2.resize(frames(folder)[1 + i], (10, 8)))[:, 1:7, 2:8]
        assert np.array_equal(x[0, :, i], expected)


def test_the_v1_layer_of_c3d_reads_folders_and_has_its_transformation_beside_the_list(
    folder, tmp_path
):
    mean = caffe.io.array_to_blobproto(np.arange(3 * 3 * 12 * 16).reshape(1, 3, 3, 12, 16))
    (tmp_path / "mean").write_bytes(mean.SerializeToString())
    more = f"use_image: true sampling_rate: 2 mean_file: '{tmp_path}/mean' crop_size: 12"
    settings = clips(folder, "rgb 4 7\n", more, "image_data_param")
    clip = net(tmp_path, settings, form="layers", type_="VIDEO_DATA")
    x = forward(clip)
    values = np.arange(3 * 3 * 12 * 16).reshape(3, 3, 12, 16)[..., 2:14]
    for i, n in enumerate((4, 6, 8)):
        image = cv2.imread(str(folder / "rgb" / f"{n:06d}.jpg"))
        assert np.array_equal(x[0, :, i], planes(image)[..., 2:14] - values[:, i])
    assert clip.blobs["y"].data.tolist() == [7]


def test_temporal_jitter_draws_all_first_frames_in_training_alone(folder, tmp_path):
    settings = clips(folder, "v.avi 2 0\n", "batch_size: 8 use_temporal_jitter: true")
    caffe.set_random_seed(1)
    source = net(tmp_path, settings, caffe.TRAIN)
    drawn = np.concatenate([forward(source)[:, :, 0] for _ in range(8)])
    starts = {
        next(i for i, f in enumerate(frames(folder)) if np.array_equal(x, planes(f))) for x in drawn
    }
    assert starts == set(range(8))
    fixed = forward(net(tmp_path, settings))
    assert all(np.array_equal(x, planes(frames(folder)[2])) for x in fixed[:, :, 0])


def segments(folder, source, settings, transform=""):
    return (
        f"video_data_param {{ source: '{folder}/{source}' {settings} }} "
        f"transform_param {{ {transform} }}"
    )


@pytest.fixture
def inside(folder, monkeypatch):
    """Paths of the lists are below the folder."""
    monkeypatch.chdir(folder)
    return folder


def test_segments_of_a_video_in_test_are_the_middles_of_its_parts(inside, tmp_path):
    settings = "modality: RGB name_pattern: 'p%d.png' num_segments: 3"
    x = forward(net(tmp_path, segments(inside, "segments.txt", settings)))
    # 9 frames in 3 parts of 3: of 3 possible starts the middle one.
    assert np.array_equal(x[0], planes(*[frames(inside)[n] for n in (1, 4, 7)]))


def test_flow_has_both_directions_of_each_frame_and_is_reversed_in_a_mirror(inside, tmp_path):
    settings = "modality: FLOW name_pattern: '%c%d.png' num_segments: 2 new_length: 2"
    text = segments(inside, "flows.txt", settings, "is_flow: true mirror: true crop_size: 12")
    caffe.set_random_seed(2)
    source = net(tmp_path, text)
    parts = [frames(inside)[n] for n in (1, 2, 5, 6)]
    plain = np.concatenate([planes(f)[:2] for f in parts])[:, :, 2:14].astype(np.float32)
    mirror = plain.copy()
    mirror[::2] = 255 - mirror[::2]
    starts = {
        next(i for i, want in enumerate((plain, mirror[..., ::-1])) if np.array_equal(x[0], want))
        for x in (forward(source) for _ in range(12))
    }
    assert starts == {0, 1}


def test_crops_of_several_scales_are_resized_to_the_crop_size(inside, tmp_path):
    settings = "modality: RGB name_pattern: 'p%d.png' num_segments: 1"
    jitter = "crop_size: 6 multi_scale: true scale_ratios: 1 scale_ratios: 0.5 max_distort: 0"
    text = segments(inside, "segments.txt", settings, jitter + " fix_crop: true")
    caffe.set_random_seed(3)
    source = net(tmp_path, text, caffe.TRAIN)
    expected = set()
    for image in frames(inside)[:9]:
        for side in (12, 6):
            top, left = 12 - side, 16 - side
            for down, right in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)):
                y, x = top // 4 * down, left // 4 * right
                part = image[y : y + side, x : x + side].astype(np.float32)
                expected.add(planes(cv2.resize(part, (6, 6))).tobytes())
    assert all(forward(source)[0].tobytes() in expected for _ in range(30))


def test_fields_that_no_family_owns_ask_for_the_fork(inside, tmp_path):
    text = segments(inside, "segments.txt", "new_length: 1")
    with pytest.raises(LayerError, match=r'set_fork\("c3d"\) or caffe.set_fork\("pspnet"\)'):
        net(tmp_path, text)
    caffe.set_fork("pspnet")
    try:
        with pytest.raises(LayerFileError, match="flow_x_0005.jpg: no image that can be read"):
            net(tmp_path, text)
    finally:
        caffe.set_fork(None)


@pytest.mark.parametrize(
    "settings, reason",
    [
        ("video_data_param { video_type: VIDEO }", "video_file is missing"),
        ("video_data_param { video_type: VIDEO video_file: 'none.avi' }", "no such file"),
        ("video_data_param { source: 'segments.txt' root_folder: '' }", "new_length is 0"),
    ],
)
def test_settings_without_a_video_are_refused(inside, tmp_path, settings, reason):
    settings = settings.replace("root_folder", "new_length: 0 root_folder")
    with pytest.raises(CaffeError, match=reason):
        net(tmp_path, "data_param { batch_size: 1 } " + settings)


def test_a_clip_that_ends_too_early_names_its_file(folder, tmp_path):
    with pytest.raises(LayerFileError, match=r"v.avi: ends before frame 10; frame 11 is needed"):
        net(tmp_path, clips(folder, "v.avi 9 0\n"))
    with pytest.raises(LayerFileError, match=r"lines of a path, the first frame and a label"):
        net(tmp_path, clips(folder, "v.avi 0\n"))


@pytest.mark.parametrize(
    "settings, advice",
    [
        ("modality: FLOW name_pattern: 'img_%05d.jpg'", "with modality FLOW; it needs %c for x or"),
        ("modality: RGB name_pattern: 'flow_%c_%d.jpg'", "with modality RGB; it needs %d for the"),
        (
            "modality: RGB name_pattern: 'img.jpg'",
            "'img.jpg' with modality RGB; it needs %d for the number",
        ),
    ],
)
def test_a_pattern_of_names_that_does_not_fit_the_modality_is_refused(
    inside, tmp_path, settings, advice
):
    text = segments(inside, "flows.txt", f"{settings} num_segments: 2 new_length: 2")
    with pytest.raises(CaffeError, match=advice):
        net(tmp_path, text)
