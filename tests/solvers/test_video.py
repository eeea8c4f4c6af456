"""Videos are segmented frame by frame."""

import json
import os

import cv2
import numpy as np
import pytest

from solvers import infer
from solvers.interface import Settings
from tests.solvers import tiny_nets
from tests.solvers.tiny_nets import colour_picture, colour_scores, convolution

FRAMES = 6


def write(path, frames=FRAMES, code="MJPG"):
    """Write a video of frames of the picture of blocks."""
    image = np.ascontiguousarray(colour_picture(64, 96)[0][:, :, ::-1])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (96, 64))
    for _ in range(frames):
        writer.write(image)
    writer.release()
    return str(path)


def read(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        success, frame = capture.read()
        if not success:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


@pytest.fixture
def net(tmp_path):
    return tiny_nets.write(tmp_path / "net", convolution("score", 3), {"score": colour_scores()})


@pytest.mark.parametrize("suffix, code", [(".avi", "MJPG"), (".mp4", "mp4v")])
def test_a_video_becomes_a_video_of_overlays(tmp_path, net, capsys, suffix, code):
    film = write(tmp_path / f"film{suffix}", code=code)
    settings = Settings(classes=("dark", "red", "blue"))
    out = str(tmp_path / "out")
    shares = infer.run(film, *net, out=out, gpu="cpu", settings=settings)
    labels = colour_picture(64, 96)[1]
    for k, name in enumerate(("dark", "red", "blue")):
        assert shares[name] == pytest.approx((labels == k).mean(), abs=0.02)
    frames, rate = read(os.path.join(out, f"film_overlay{suffix}"))
    assert len(frames) == FRAMES and frames[0].shape == (64, 96, 3) and rate == 10
    # Class 1 has VOC's dark red over the photograph's red, class 2 VOC's green over blue.
    assert frames[2][20, 20, 2] > 120 and frames[2][20, 20, 1] < 80
    assert frames[2][20, 70, 1] > 60
    assert f"{FRAMES} frames of 96 x 64, 10 a second" in capsys.readouterr().out


def test_a_collection_has_photographs_and_videos_and_is_done_once(tmp_path, net, capsys):
    folder = tmp_path / "media"
    folder.mkdir()
    film = write(folder / "film.avi", 2)
    options = {"net": net[0], "weights": net[1], "gpu": "cpu", "out": str(tmp_path / "out")}
    assert infer.run_collection([str(folder)], as_json=True, **options) == [film]
    values = json.loads(capsys.readouterr().out)
    assert values["frames"] == 2 and values["files"][0].endswith("film_overlay.avi")
    assert infer.run_collection([str(folder)], **options) == []


def test_a_video_that_cannot_be_read_is_refused(tmp_path, net):
    (tmp_path / "film.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(OSError, match="film.mp4: is not a video that OpenCV"):
        infer.run(str(tmp_path / "film.mp4"), *net, out=str(tmp_path), gpu="cpu")
    assert not (tmp_path / "film_overlay.mp4").exists()


def test_a_truncated_video_is_segmented_as_far_as_it_can_be_read(tmp_path, net, capsys):
    film = write(tmp_path / "film.avi", 30)
    with open(film, "rb+") as file:
        file.truncate(os.path.getsize(film) // 2)
    infer.run(film, *net, out=str(tmp_path / "out"), gpu="cpu")
    frames, _ = read(tmp_path / "out" / "film_overlay.avi")
    assert 0 < len(frames) < 30


def test_a_net_of_four_channels_refuses_a_video(tmp_path):
    four = tiny_nets.write(tmp_path / "net", convolution("score", 2), channels=4)
    film = write(tmp_path / "film.avi", 1)
    settings = Settings(mean=(0, 0, 0, 0))
    with pytest.raises(ValueError, match="the net reads 4 channels, frames have 3"):
        infer.run(film, *four, out=str(tmp_path), gpu="cpu", settings=settings)
