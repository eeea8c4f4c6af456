"""Draw the pictures of docs/forks.md: each task of `zoo.tasks` on a net, from picture to picture.

`python -m zoo.pictures` writes docs/forks/*.png in about a minute on a CPU. The SSD face detector
comes from a public package (see `zoo.published`; --packages names its folder). The other nets are
small: a pose net learns drawn figures, a colouring net and SRCNN learn scikit-image's photographs,
and the side outputs of the edge detector are Sobel's kernels at three scales.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import caffe
import cv2
import numpy as np
from caffe import layers as L
from skimage import data

from fcn_common.command import run

from .published import MODELS, find_files, input_of
from .tasks import colour, detection, edges, pose, resolution

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "forks"
#: Draws a batch: the values of each input.
Draw = Callable[[np.random.RandomState], dict[str, np.ndarray]]


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Return pictures of one height side by side, with white between them."""
    gap = np.full((pictures[0].shape[0], 8, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], 1)


def write(name: str, picture: np.ndarray) -> None:
    """Write a picture to the folder of the pictures."""
    FOLDER.mkdir(exist_ok=True)
    cv2.imwrite(str(FOLDER / f"{name}.png"), picture[:, :, ::-1])


def build(param: Any, phase: int = caffe.TEST) -> Any:
    """Return the net of a NetParameter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(str(param))
        return caffe.Net(str(path), phase)


def train(param: Any, draw: Draw, iterations: int, rate: float) -> Any:
    """Return a solver's net after it has learned from batches that `draw` draws (Adam)."""
    random = np.random.RandomState(0)
    with tempfile.TemporaryDirectory() as folder:
        net, solver = Path(folder) / "net.prototxt", Path(folder) / "solver.prototxt"
        net.write_text(str(param))
        solver.write_text(
            f'net: "{net}" type: "Adam" base_lr: {rate} momentum: 0.9 momentum2: 0.999 '
            f'lr_policy: "poly" power: 1 max_iter: {iterations} random_seed: 1 '
            "snapshot_after_train: false"
        )
        trained = caffe.get_solver(str(solver))
        for _ in range(iterations):
            for name, values in draw(random).items():
                trained.net.blobs[name].data[...] = values
            trained.step(1)
    return trained.net


def convolutions(n: Any, top: Any, channels: Sequence[int], kernels: Sequence[int]) -> Any:
    """Add convolutions that keep the size, with ReLUs between them, and return the last top."""
    filler = {"type": "msra"}
    for i, (count, kernel) in enumerate(zip(channels, kernels)):
        top = n[f"conv{i}"] = L.Convolution(
            top, num_output=count, kernel_size=kernel, pad=kernel // 2, weight_filler=filler
        )
        if i + 1 < len(channels):
            top = n[f"relu{i}"] = L.ReLU(top, in_place=True)
    return top


def regression(
    batch: int,
    inputs: int,
    outputs: int,
    size: int,
    channels: Sequence[int],
    kernels: Sequence[int],
) -> Any:
    """Return the NetParameter of convolutions from `x` to a map that is compared with `y`."""
    n = caffe.NetSpec()
    n.x = L.Input(shape={"dim": [batch, inputs, size, size]})
    n.y = L.Input(shape={"dim": [batch, outputs, size, size]})
    top = convolutions(n, n.x, [*channels, outputs], kernels)
    n.loss = L.EuclideanLoss(top, n.y)
    return n.to_proto()


def run_on(net: Any, x: np.ndarray, kernels: int) -> np.ndarray:
    """Return the map that a trained `regression` net computes for one input."""
    net.blobs["x"].reshape(*x.shape)
    net.blobs["x"].data[...] = x
    last = f"conv{kernels - 1}"
    net.forward(end=last)
    return np.array(net.blobs[last].data[0])


def draw_faces(packages: Sequence[str]) -> None:
    """The SSD face detector on a photograph."""
    files = find_files(MODELS[0], packages)
    if files is None:
        print(f"{MODELS[0].package} is not installed; the picture of detection stays as it is")
        return
    picture = data.astronaut()
    net = caffe.Net(*files, caffe.TEST)
    net.blobs["data"].data[...] = input_of(MODELS[0], picture)
    rows = net.forward()["detection_out"]
    faces = detection.read_detections(rows, picture.shape[:2], 0.5)
    write("detection", detection.draw_detections(picture, faces, ["", "face"]))


#: The joints of a drawn figure: head, hands, hip and feet; the limbs between them.
LIMBS = ((0, 3), (1, 6), (2, 6), (3, 4), (3, 5))
SIZE = 64


def figure(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture SIZE x SIZE of a figure, and the 7 x 2 places (x, y) of its joints."""
    ground = random.randint(0, 90, (SIZE // 4, SIZE // 4, 3)).astype(np.uint8)
    picture = np.array(cv2.resize(ground, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    x, y = random.uniform(22, 42), random.uniform(10, 16)
    hip = np.array([x + random.uniform(-5, 5), y + 24])
    chest = np.array([x, y]) + (hip - [x, y]) * 0.35
    hands = [chest + random.uniform([8, -8], [16, 12]) * [side, 1] for side in (-1, 1)]
    feet = [hip + random.uniform([2, 12], [12, 19]) * [side, 1] for side in (-1, 1)]
    joints = np.array([[x, y], *hands, hip, *feet, chest])
    colour_ = tuple(int(c) for c in random.randint(150, 256, 3))
    for a, b in LIMBS:
        ends = [tuple(np.rint(joints[j]).astype(int).tolist()) for j in (a, b)]
        cv2.line(picture, ends[0], ends[1], colour_, 2, cv2.LINE_AA)
    cv2.circle(picture, tuple(np.rint(joints[0]).astype(int).tolist()), 4, colour_, -1, cv2.LINE_AA)
    return picture, joints


def heat_maps(joints: np.ndarray) -> np.ndarray:
    """Return a Gaussian of 2 positions around each joint, 7 x 32 x 32."""
    row, column = np.mgrid[: SIZE // 2, : SIZE // 2]
    squares = [(column - x / 2) ** 2 + (row - y / 2) ** 2 for x, y in joints]
    return np.exp(-np.array(squares) / 8)


def pose_net(batch: int) -> Any:
    """Return the NetParameter of a small net from figures to heat maps."""
    n = caffe.NetSpec()
    n.x = L.Input(shape={"dim": [batch, 3, SIZE, SIZE]})
    n.y = L.Input(shape={"dim": [batch, 7, SIZE // 2, SIZE // 2]})
    n.pool = L.Pooling(n.x, kernel_size=2, stride=2, pool=1)
    top = convolutions(n, n.pool, [16, 24, 24, 24, 7], [5, 7, 7, 7, 1])
    n.loss = L.EuclideanLoss(top, n.y)
    return n.to_proto()


def draw_figures() -> None:
    """A pose net on figures that it has not seen."""

    def batch(random: np.random.RandomState) -> dict[str, np.ndarray]:
        figures = [figure(random) for _ in range(8)]
        x = np.array([p.transpose(2, 0, 1) for p, _ in figures]) / 128 - 0.5
        return {"x": x, "y": 4 * np.array([heat_maps(joints) for _, joints in figures])}

    net = train(pose_net(8), batch, 260, 0.002)
    random, pictures = np.random.RandomState(99), []
    for _ in range(4):
        picture, _ = figure(random)
        maps = run_on(net, (picture.transpose(2, 0, 1) / 128 - 0.5)[None], 5) / 4
        larger = cv2.resize(picture, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        points = pose.read_keypoints(maps, larger.shape[:2], 0.2)
        pictures.append(pose.draw_pose(larger, points, LIMBS))
    write("pose", beside(*pictures))


#: Pixels around the photograph of `draw_edges`.
MARGIN = 32


def edge_net(height: int, width: int) -> Any:
    """Return a net of three side outputs: the length of Sobel's gradient at three scales."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 1, height, width]})
    top = n.data
    for i in range(3):
        n[f"sobel{i}"] = L.Convolution(top, num_output=2, kernel_size=3, pad=1)
        n[f"length{i}"] = L.ChannelNorm(n[f"sobel{i}"])
        n[f"side{i}"] = L.Power(n[f"length{i}"], scale=8, shift=-3)
        top = n[f"pool{i}"] = L.Pooling(top, kernel_size=2, stride=2, pool=1)
    net = build(n.to_proto())
    x = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    for i in range(3):
        net.params[f"sobel{i}"][0].data[:, 0] = [x, x.T]
    return net


def draw_edges() -> None:
    """The fused and thinned edges of a photograph."""
    picture = data.coffee()[:, 80:520]
    # The margin keeps the zeros around the net's maps out of the picture.
    smooth = cv2.GaussianBlur(
        cv2.copyMakeBorder(picture, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REFLECT), (0, 0), 1.2
    )
    height, width = smooth.shape[:2]
    net = edge_net(height, width)
    net.blobs["data"].data[0, 0] = resolution.luminance(smooth)[0, 0] * 4
    net.forward()
    fused = edges.fuse([net.blobs[f"side{i}"].data[0, 0] for i in range(3)], (height, width))
    fused = fused[MARGIN:-MARGIN, MARGIN:-MARGIN]
    fused = (fused - fused.min()) / (fused.max() - fused.min())
    thinned = edges.thin(fused)
    lines = cv2.dilate(np.where(thinned > 0.25, 1.0, 0), np.ones((2, 2)))
    write("edges", beside(picture, edges.draw_edges(fused), edges.draw_edges(lines, picture)))


def draw_colours() -> None:
    """A photograph, without its colours, and with those of a net that learned the photograph."""
    picture = cv2.resize(data.chelsea(), (360, 240), interpolation=cv2.INTER_AREA)
    size = (80, 120)
    light, ab = colour.lightness(picture, size) / 50, colour.ab_map(picture, size) / 50
    row, column = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    x = np.concatenate([light, row[None, None], column[None, None]], 1)

    def batch(random: np.random.RandomState) -> dict[str, np.ndarray]:
        tops, lefts = random.randint(0, 48, 4), random.randint(0, 88, 4)
        windows = [(slice(None), slice(t, t + 32), slice(s, s + 32)) for t, s in zip(tops, lefts)]
        return {
            "x": np.stack([x[0][w] for w in windows]),
            "y": np.stack([ab[0][w] for w in windows]),
        }

    kernels = [5, 5, 5, 1]
    net = train(regression(4, 3, 2, 32, [24, 32, 32], kernels), batch, 400, 0.003)
    colours = 50 * run_on(net, x, 4)
    grey = colour.grey(picture)
    write("colour", beside(picture, grey, colour.join(grey, colours)))


def draw_enlarged() -> None:
    """A photograph enlarged three times, by interpolation and by SRCNN trained on others."""
    scale, kernels, border = 3, [9, 3, 5], 8
    photographs = [data.chelsea(), data.coffee(), data.rocket()]
    pairs = []
    for truth in photographs:
        height, width = (n // scale * scale for n in truth.shape[:2])
        truth = truth[:height, :width]
        small = cv2.resize(truth, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
        low = resolution.luminance(resolution.enlarge(small, scale))[0]
        pairs.append((low, resolution.luminance(truth)[0] - low))

    def batch(random: np.random.RandomState) -> dict[str, np.ndarray]:
        xs, ys = [], []
        for _ in range(16):
            x, y = pairs[random.randint(len(pairs))]
            top, left = (random.randint(n - 32) for n in x.shape[1:])
            window = slice(None), slice(top, top + 32), slice(left, left + 32)
            xs.append(x[window])
            ys.append(10 * y[window])
        return {"x": np.stack(xs), "y": np.stack(ys)}

    net = train(regression(16, 1, 1, 32, [24, 12], kernels), batch, 500, 0.002)
    truth = data.astronaut()[10:250, 100:340]
    small = cv2.resize(truth, (80, 80), interpolation=cv2.INTER_AREA)
    larger = resolution.enlarge(small, scale)
    y = resolution.luminance(larger)
    better = resolution.with_luminance(larger, y[0, 0] + run_on(net, y, 3)[0] / 10)
    numbers = [resolution.psnr(p, truth, border) for p in (larger, better)]
    print(f"PSNR: bicubic {numbers[0]:.2f} dB, SRCNN {numbers[1]:.2f} dB")
    nearest = cv2.resize(small, (240, 240), interpolation=cv2.INTER_NEAREST)
    write("resolution", beside(nearest, larger, better, truth))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command on a command line (sys.argv if None); return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m zoo.pictures", description=__doc__)
    parser.add_argument("--packages", nargs="*", default=[], help="folders with packages")
    options = parser.parse_args(argv)
    draw_faces(options.packages)
    for draw in (draw_edges, draw_figures, draw_colours, draw_enlarged):
        draw()
    return 0


if __name__ == "__main__":
    run(main)
