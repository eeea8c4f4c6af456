"""Why the published nets pad their image by 100, what less would do, and what it would save.

python -m experiments.padding [--out DIR] [--demo DIR] [--gpu N|cpu] [--docs]

With --docs it writes docs/padding.md and its drawings, of the numbers of `net_gen.padding` and of
the experiment's result.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from experiments import report, training
from experiments.report import Cell, Figure, Number, Result, Table, count, percent
from solvers import available
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
SCENES = 60  # of the demo's split `test`
SHOWN = 3  # of them, in the figure
TIMED_SIZE = 500  # pixels, the long side of VOC's photographs
TIMED_REPEATS = 3
TIMED_NETS = ("voc-fcn8s", "voc-fcn-alexnet", "voc-fcn-googlenet8s")
DRAWN_NET, DRAWN_SIZE = "voc-fcn32s", 224
DRAWN_BLOBS = ("data", "pool3", "pool4", "pool5", "score_fr", "upscore", "score")
HEAD_NET, HEAD_SIZE = "voc-fcn8s", 96
HEAD_BLOBS = (
    *("score_fr", "upscore2", "score_pool4", "score_pool4c", "upscore_pool4", "score_pool3"),
    *("score_pool3c", "upscore8", "score", "data"),
)
LIMITS_UP_TO = 110  # pixels of padding
# --------------------------------------------------------------------------
DOCS = os.path.join(available.ROOT, "docs")
PLACES, HEAD, LIMITS, SCENES_SHOWN = "places.png", "head.png", "limits.png", "scenes.png"
NUMBERS = "Numbers"  # the key under which a drawing keeps what it shows


class Row(NamedTuple):
    """A blob along one side of the image: its values lie at first, first + pitch, ... last."""

    blob: str
    first: float
    last: float
    pitch: float
    size: int


def places(net: str, pad: int, size: int, blobs: Sequence[str]) -> Tuple[List[Row], Dict[str, int]]:
    """Where the values of `blobs` lie, in pixels of an image of `size`, and the crop offsets."""
    from net_gen import padding

    geometry = padding.Geometry(net, pad)
    sizes = geometry.sizes(size, checked=False)
    rows = []
    for blob in blobs:
        _, scale, shift = geometry.maps[blob]
        first, last = -shift / scale, (sizes[blob] - 1 - shift) / scale
        rows.append(Row(blob, float(first), float(last), float(1 / scale), sizes[blob]))
    return rows, {name: int(offset) for name, offset in geometry.offsets.items()}


def limit_lines(nets: Sequence[str]) -> Dict[str, List[List[Any]]]:
    """Net -> [pad, smallest input, whether every larger one is aligned] of every padding."""
    from net_gen import padding

    lines = {}
    for net in nets:
        found = [padding.Geometry(net, pad).limits() for pad in range(LIMITS_UP_TO + 1)]
        lines[net] = [[side.pad, side.smallest, not side.fault] for side in found]
    return lines


def paddings(net: str, smallest: int) -> List[int]:
    """The published padding, the least for every size, the least from `smallest` pixels on."""
    from net_gen import padding
    from net_gen.trunks import PAD

    return [PAD, padding.least_padding(net), padding.least_padding(net, smallest)]


def drawn_paddings() -> List[int]:
    """Those of the first drawing: of the classifier's own convolution, the least, the published."""
    return [1, paddings(DRAWN_NET, DRAWN_SIZE)[2], paddings(DRAWN_NET, DRAWN_SIZE)[0]]


def drawings() -> Dict[str, Any]:
    """What each drawing shows, by its file, as JSON has it: the same as is kept inside the PNG."""
    from net_gen import VARIANTS

    shown = {
        PLACES: [
            [pad, *places(DRAWN_NET, pad, DRAWN_SIZE, DRAWN_BLOBS)] for pad in drawn_paddings()
        ],
        HEAD: places(HEAD_NET, 100, HEAD_SIZE, HEAD_BLOBS),
        LIMITS: limit_lines([n for n in VARIANTS if not n.endswith("atonce")]),
    }
    return json.loads(json.dumps(shown))


def draw(folder: str) -> None:
    """Write the three drawings into a folder."""
    shown = drawings()
    _draw_places(shown[PLACES], os.path.join(folder, PLACES))
    _draw_head(shown[HEAD], os.path.join(folder, HEAD))
    _draw_limits(shown[LIMITS], os.path.join(folder, LIMITS))


def numbers_in(path: str) -> Any:
    """What a drawing shows, as it is kept inside the PNG."""
    from PIL import Image

    with Image.open(path) as image:
        return json.loads(image.info[NUMBERS])


BLUE, RED, GREY = "#2b6ca3", "#b5402a", "#777777"


def _draw_rows(axis: Any, rows: Sequence[Row], size: int) -> None:
    """Each blob as a row of cells around the places of its values, over the image's extent."""
    axis.axvspan(-0.5, size - 0.5, color="#f0e6c8", zorder=0)
    for y, row in enumerate(rows):
        if not row.size:
            continue
        start, width = row.first - row.pitch / 2, row.pitch
        colour = RED if row.blob in ("data", "score") else BLUE
        axis.broken_barh(
            [(start, width * row.size)], (y - 0.33, 0.66), facecolor=colour, alpha=0.22
        )
        if width > 3:
            places_of = row.first + width * np.arange(row.size)
            edges = start + width * np.arange(row.size + 1)
            axis.vlines(edges, y - 0.33, y + 0.33, color=colour, linewidth=0.7)
            axis.plot(places_of, [y] * row.size, ".", color=colour, markersize=3.5)
        else:
            axis.vlines([start, start + width * row.size], y - 0.33, y + 0.33, color=colour)
    axis.set_yticks(range(len(rows)))
    axis.set_yticklabels([f"{row.blob}  {row.size}" for row in rows], fontsize=9)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=9)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _draw_places(panels: Sequence[Any], path: str) -> None:
    from solvers import figures

    plt = figures.pyplot()
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 2.55 * len(panels) + 0.5), sharex=True)
    for axis, (pad, listed, offsets) in zip(axes, panels):
        rows = [Row(*row) for row in listed]
        offset = offsets["score"]
        if offset < 0:  # there is no crop: the row of `score` stays empty
            rows[-1] = rows[-1]._replace(size=0)
        _draw_rows(axis, rows, DRAWN_SIZE)
        up = next(row for row in rows if row.blob == "upscore")
        y = rows.index(up) + 0.5
        ends = (up.first - 0.5, -0.5)
        axis.plot(ends, (y, y), color="black", linewidth=1.4, marker="|")
        axis.annotate(
            f"crop offset {offset}" if offset >= 0 else f"offset {offset}: no crop",
            (min(ends), y),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
        )
        edge = -0.5 - pad
        axis.axvline(edge, color=GREY, linestyle=":", linewidth=1)
        axis.axvline(DRAWN_SIZE - 0.5 + pad, color=GREY, linestyle=":", linewidth=1)
        axis.set_title(f"{DRAWN_NET}, pad {pad}", fontsize=10, loc="left")
    axes[-1].set_xlabel(
        f"pixels of an image of {DRAWN_SIZE}; dotted: the edges of the padding", fontsize=9
    )
    figure.tight_layout()
    _save(figure, path, panels)


def _draw_head(shown: Any, path: str) -> None:
    from solvers import figures

    listed, offsets = shown
    rows = [Row(*row) for row in listed]
    plt = figures.pyplot()
    figure, axis = plt.subplots(figsize=(9, 4.4))
    _draw_rows(axis, rows, HEAD_SIZE)
    by_name = {row.blob: row for row in rows}
    for crop, offset in offsets.items():
        cropped, whole = by_name[crop], rows[rows.index(by_name[crop]) - 1]
        y = rows.index(cropped)
        starts = [row.first - row.pitch / 2 for row in (whole, cropped)]
        axis.plot(starts, (y, y), color="black", linewidth=1.4, marker="|")
        axis.annotate(
            f"offset {offset}",
            (starts[0], y),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=9,
        )
    axis.set_xlabel(f"pixels of an image of {HEAD_SIZE}", fontsize=9)
    axis.set_title(f"The head of {HEAD_NET}, pad 100", fontsize=10, loc="left")
    figure.tight_layout()
    _save(figure, path, shown)


def _draw_limits(lines: Any, path: str) -> None:
    from solvers import figures

    plt = figures.pyplot()
    figure, axis = plt.subplots(figsize=(7.5, 4))
    colours = {"vgg16": BLUE, "alexnet": RED, "googlenet": "#3c8d4f"}
    from net_gen import VARIANTS

    titled = set()
    for net, line in lines.items():
        trunk = VARIANTS[net].trunk
        pads, sizes, aligned = (np.array(column) for column in zip(*line))
        if trunk not in titled:
            axis.step(pads, sizes, where="mid", color=colours[trunk], linewidth=0.9, label=trunk)
            titled.add(trunk)
        good = pads[aligned]
        axis.plot(good, sizes[aligned], color=colours[trunk], linewidth=3.2, alpha=0.35)
        axis.plot(good[:1], sizes[aligned][:1], "o", color=colours[trunk], markersize=5)
        axis.annotate(
            f"{net.replace('voc-fcn', '').lstrip('-')}: {good[0]}",
            (good[0], sizes[aligned][0]),
            xytext=(5, 6),
            textcoords="offset points",
            fontsize=8,
            rotation=35,
        )
    axis.set_xlabel("padding of the first convolution, pixels", fontsize=9)
    axis.set_ylabel("smallest input, pixels a side", fontsize=9)
    axis.set_ylim(0, None)
    axis.legend(fontsize=9, frameon=False, title="no scores below the line")
    figure.tight_layout()
    _save(figure, path, lines)


def _save(figure: Any, path: str, numbers: Any) -> None:
    """Write a PNG, whole, with the numbers that it shows inside."""
    from solvers import figures

    partial = f"{path}.{os.getpid()}.partial"
    try:
        figure.savefig(
            partial, dpi=110, format="png", metadata={NUMBERS: json.dumps(numbers), "Software": ""}
        )
        os.replace(partial, path)
    finally:
        figures.pyplot().close(figure)
        if os.path.exists(partial):
            os.remove(partial)


# ------------------------------------------------------------- what is measured


def timed(net: str, pad: int, size: int, repeats: int) -> Dict[str, float]:
    """Seconds of the fastest forward pass of a full-width net on the CPU, and the process's MiB.

    Weights and image are random. Runs in this process, so the caller gives it one of its own.
    """
    import caffe

    import net_gen

    caffe.set_mode_cpu()
    message = net_gen.fcn(net, "deploy", pad=pad)
    message.layer[0].input_param.shape[0].dim[2:] = [size, size]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "deploy.prototxt")
        net_gen.write(message, path)
        built = caffe.Net(path, caffe.TEST)
    rng = np.random.RandomState(0)
    for blobs in built.params.values():
        row = 0.05 * rng.standard_normal(blobs[0].data[0].shape)
        blobs[0].data[...] = row  # one row for all outputs: drawing each would take longer
    built.blobs["data"].data[...] = rng.standard_normal(built.blobs["data"].data.shape)
    seconds = []
    for _ in range(repeats + 1):
        started = time.time()
        built.forward()
        seconds.append(time.time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": min(seconds[1:]), "mib": peak}


def time_in_a_process(net: str, pad: int) -> Dict[str, float]:
    """`timed` in a process of its own, whose peak of memory is the net's alone."""
    call = f"timed({net!r}, {pad}, {TIMED_SIZE}, {TIMED_REPEATS})"
    code = f"import json; from experiments.padding import timed; print(json.dumps({call}))"
    environment = dict(os.environ, PYTHONPATH=available.ROOT)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"timing {net} with pad {pad}: {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def time_rows(smallest: int) -> List[List[Cell]]:
    """Time and memory of the nets of `TIMED_NETS`, with each padding of `paddings`."""
    from solvers.log import progress

    tried = [(net, pad) for net in TIMED_NETS for pad in paddings(net, smallest)]
    rows: List[List[Cell]] = []
    for net, pad in progress(tried, len(tried), "timing"):
        found = time_in_a_process(net, pad)
        rows.append([net, count(pad), Number(found["seconds"], ".2f"), count(found["mib"])])
    return rows


class Scored(NamedTuple):
    """A trained net with one padding: its scores, and its label maps of the scenes."""

    pad: int
    scores: Dict[str, Any]
    seconds: float
    labels: List[np.ndarray]


def score(folder: str, net: str, pad: int, demo: training.Demo, scenes: Sequence[str]) -> Scored:
    """A stage of the demo with another padding, scored on the first scenes of the split `test`."""
    import net_gen
    from solvers import infer
    from solvers.score import score_files

    own = os.path.join(folder, f"{net}-pad{pad}")
    made = training.fcn(net, own, demo, pad=pad)
    for split in ("test", "deploy"):
        net_gen.write(made(split), os.path.join(own, split + ".prototxt"))
    weights = demo.weights(net)
    title = f"{net}, pad {pad}"
    started = time.time()
    scores = score_files(
        os.path.join(own, "test.prototxt"), weights, images=len(scenes), title=title
    )
    seconds = time.time() - started
    loaded = infer.load(os.path.join(own, "deploy.prototxt"), weights)
    labels = [infer.predict(loaded, _photo(demo, name))[0] for name in scenes]
    return Scored(pad, scores, seconds / len(scenes), labels)


def _photo(demo: training.Demo, name: str) -> np.ndarray:
    from solvers import infer

    return infer.read(os.path.join(demo.voc, "JPEGImages", name + ".jpg"))


def _truth(demo: training.Demo, name: str) -> np.ndarray:
    from PIL import Image

    with Image.open(os.path.join(demo.voc, "SegmentationClass", name + ".png")) as image:
        return np.asarray(image)


def moved(ours: np.ndarray, theirs: np.ndarray) -> Optional[Tuple[int, int]]:
    """By how many pixels (down, right), up to 4, label map `ours` best lies on `theirs`.

    None where both have one class alone.
    """
    reach = 4
    best: Tuple[int, Optional[Tuple[int, int]]] = (-1, None)
    if len(np.unique(theirs)) < 2 or len(np.unique(ours)) < 2:
        return None
    inner = theirs[reach:-reach, reach:-reach]
    height, width = inner.shape
    shifts = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    for y, x in sorted(shifts, key=lambda s: abs(s[0]) + abs(s[1])):
        part = ours[reach + y : reach + y + height, reach + x : reach + x + width]
        agree = int((part == inner).sum())
        if agree > best[0]:
            best = agree, (y, x)
    return best[1]


def run(out: str, demo: str, gpu: Gpu = None) -> Result:
    """The demo's nets with the published and with the least padding; time and memory saved."""
    from net_gen import STAGES
    from solvers import figures

    done = training.finished(demo)
    folder = os.path.join(out, "padding")
    os.makedirs(folder, exist_ok=True)
    scenes = done.test_images()[: done.iters(SCENES)]
    smallest = min(min(_truth(done, name).shape) for name in scenes)
    rows: List[List[Cell]] = []
    columns: List[List[np.ndarray]] = []
    titles: List[str] = []
    for net in STAGES:
        scored = [score(folder, net, pad, done, scenes) for pad in paddings(net, smallest)]
        for one in scored:
            same = np.mean([(a == b).mean() for a, b in zip(one.labels, scored[0].labels)])
            shifts = [moved(a, b) for a, b in zip(one.labels, scored[0].labels)]
            known = [shift for shift in shifts if shift]
            still = sum(shift == (0, 0) for shift in known) / len(known) if known else None
            rows.append(
                [
                    net,
                    count(one.pad),
                    percent(one.scores["mean_iu"]),
                    percent(one.scores["pixel_accuracy"]),
                    percent(same),
                    percent(still),
                    Number(1000 * one.seconds, ".0f"),
                ]
            )
        if net == list(STAGES)[-1]:
            columns = [one.labels[:SHOWN] for one in (scored[0], scored[-1])]
            titles = [f"pad {one.pad}" for one in (scored[0], scored[-1])]
    truths = [_truth(done, name) for name in scenes[:SHOWN]]
    shown = [
        (_photo(done, name), [*(column[i] for column in columns), truths[i]])
        for i, name in enumerate(scenes[:SHOWN])
    ]
    figures.side_by_side(shown, [*titles, "truth"], os.path.join(folder, SCENES_SHOWN))
    draw(folder)
    text = [
        "The published nets pad their image by 100 in the first convolution. `net_gen.padding` "
        "works out what less padding would do; here the demo's trained nets, which have seen a "
        "padding of 100 only, are run with the least one that aligns every size from 1 pixel on, "
        f"and with the least one for these scenes, whose sides have {smallest} pixels or more.",
        "`same pixels` is how many pixels keep the label that they have with 100; `in place` is "
        "how many label maps agree best with those of 100 where they are, of all moves by up to 4 "
        "pixels. Labels differ where the scores of a pixel are taken at another phase of the "
        "stride, and near the border, where more or less of the padding is seen.",
    ]
    tables = [
        Table(
            f"The demo's nets on {len(scenes)} scenes, percent",
            ["net", "pad", "mean IU", "pixel acc.", "same pixels", "in place", "ms a scene"],
            rows,
        ),
        Table(
            f"Full width, {TIMED_SIZE} x {TIMED_SIZE}, one forward pass on the CPU",
            ["net", "pad", "seconds", "MiB at the peak"],
            time_rows(smallest),
        ),
    ]
    return Result(
        "padding",
        "Why pad 100",
        text,
        tables,
        [
            Figure(PLACES, "Where the values of each blob lie over the image, by padding."),
            Figure(
                LIMITS, "The smallest input by padding; wide where every larger one is aligned."
            ),
            Figure(SCENES_SHOWN, f"FCN-8s of the demo with {' and '.join(titles)}."),
        ],
    )


def main(argv: Optional[Sequence[str]] = None) -> None:
    report.main(run, __doc__, argv)


if __name__ == "__main__":
    main()
