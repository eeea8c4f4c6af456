"""Why the published nets pad their image by 100, what less would do, and what it would save.

python -m experiments.padding [--out DIR] [--demo DIR] [--gpu N|cpu] [--docs]

With --docs it writes docs/padding.md and its drawings, of the numbers of `net_gen.padding` and of
the experiment's result.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from experiments import report, training
from experiments.report import Cell, Figure, Number, Result, Table, count, percent
from fcn_common import command
from fcn_common.files import write_text
from solvers import available
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
SCENES = 20  # of the demo's split `test`
SHOWN = 3  # of them, in the figure
BORDER = 48  # pixels; what is further inside is scored by itself too
TIMED_SIZE = 500  # pixels, the long side of VOC's photographs
TIMED_REPEATS = 2
TIMED_WIDTH = 1 / 4  # of every channel count
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
    from net_gen import fcn, padding

    lines = {}
    for net in nets:
        message = fcn(net, "deploy")
        found = [padding.Geometry(message, pad).limits() for pad in range(LIMITS_UP_TO + 1)]
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
    from net_gen import STAGES, VARIANTS

    coarse = [
        net
        for net, variant in VARIANTS.items()
        if (variant.stride, variant.data_set) == (32, "voc")
    ]
    others = [net for net in coarse if net not in STAGES]
    shown = {
        PLACES: [
            [pad, *places(DRAWN_NET, pad, DRAWN_SIZE, DRAWN_BLOBS)] for pad in drawn_paddings()
        ],
        HEAD: places(HEAD_NET, 100, HEAD_SIZE, HEAD_BLOBS),
        LIMITS: limit_lines([*STAGES, *others]),
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
    axis.set_yticklabels([f"{row.blob}  {row.size or '-'}" for row in rows], fontsize=9)
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
            (sum(starts) / 2, y),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
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

    starts: Dict[Tuple[str, int, int], List[str]] = {}
    for net, line in lines.items():
        trunk, short = VARIANTS[net].trunk, net.replace("voc-fcn", "").lstrip("-")
        pads, sizes, aligned = (np.array(column) for column in zip(*line))
        label = None if any(key[0] == trunk for key in starts) else trunk
        axis.step(pads, sizes, where="mid", color=colours[trunk], linewidth=0.9, label=label)
        axis.plot(pads[aligned], sizes[aligned], color=colours[trunk], linewidth=3.2, alpha=0.35)
        start = trunk, int(pads[aligned][0]), int(sizes[aligned][0])
        starts.setdefault(start, []).append(short)
    for (trunk, pad, size), names in starts.items():
        axis.plot([pad], [size], "o", color=colours[trunk], markersize=5)
        axis.annotate(
            f"{', '.join(names)}: {pad}",
            (pad, size),
            xytext=(5, 6),
            textcoords="offset points",
            fontsize=8,
            rotation=30,
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
    """CPU seconds of the cheapest forward pass of a net, and the MiB of the process.

    Weights and image are random. Runs in this process, so the caller gives it one of its own.
    """
    import caffe

    import net_gen

    caffe.set_mode_cpu()
    message = net_gen.fcn(net, "deploy", pad=pad, width=TIMED_WIDTH)
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
        started = time.process_time()
        built.forward()
        seconds.append(time.process_time() - started)
    return {"seconds": min(seconds[1:]), "mib": peak()}


def peak() -> float:
    """The most memory that this process has had resident, MiB."""
    try:
        with open("/proc/self/status") as file:
            return int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1]) / 1024  # type: ignore[index]
    except (OSError, TypeError):  # no Linux; getrusage counts what the parent had, too
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    from fcn_common.progress import track

    tried = [(net, pad) for net in TIMED_NETS for pad in paddings(net, smallest)]
    rows: List[List[Cell]] = []
    for net, pad in track(tried, len(tried), "timing"):
        found = time_in_a_process(net, pad)
        rows.append([net, count(pad), Number(found["seconds"], ".2f"), count(found["mib"])])
    return rows


class Scored(NamedTuple):
    """A trained net with one padding: its label maps of the scenes and their scores.

    inside: the scores of what is BORDER pixels or more from every border.
    """

    pad: int
    scores: Dict[str, Any]
    inside: Dict[str, Any]
    labels: List[np.ndarray]


def score(folder: str, net: str, pad: int, demo: training.Demo, scenes: Sequence[str]) -> Scored:
    """A stage of the demo with another padding, scored on the first scenes of the split `test`."""
    import net_gen
    from fcn_common.progress import track
    from fcn_common.voc import CLASSES
    from solvers import infer
    from solvers.score import fast_hist, metrics

    path = os.path.join(folder, f"{net}-pad{pad}", "deploy.prototxt")
    net_gen.write(training.fcn(net, os.path.dirname(path), demo, pad=pad)("deploy"), path)
    loaded = infer.load(path, demo.weights(net))
    hist: Any = 0
    inner: Any = 0
    labels = []
    for name in track(scenes, len(scenes), f"{net}, pad {pad}"):
        labels.append(infer.predict(loaded, _photo(demo, name))[0])
        truth = _truth(demo, name)
        hist = hist + fast_hist(truth, labels[-1], len(CLASSES))
        inner = inner + fast_hist(inside(truth), inside(labels[-1]), len(CLASSES))
    return Scored(pad, metrics(hist), metrics(inner), labels)


def inside(label: np.ndarray) -> np.ndarray:
    """What of a label map (H x W) lies BORDER pixels or more from every border."""
    return label[BORDER:-BORDER, BORDER:-BORDER]


def _photo(demo: training.Demo, name: str) -> np.ndarray:
    from solvers import infer

    return infer.read(os.path.join(demo.voc, "JPEGImages", name + ".jpg"))


def _truth(demo: training.Demo, name: str) -> np.ndarray:
    from PIL import Image

    with Image.open(os.path.join(demo.voc, "SegmentationClass", name + ".png")) as image:
        return np.asarray(image)


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
            pairs = list(zip(one.labels, scored[0].labels))
            rows.append(
                [
                    net,
                    count(one.pad),
                    percent(one.scores["mean_iu"]),
                    percent(one.inside["mean_iu"]),
                    percent(float(np.mean([(a == b).mean() for a, b in pairs]))),
                    percent(float(np.mean([(inside(a) == inside(b)).mean() for a, b in pairs]))),
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
        "`same labels` is how many pixels keep the label that they have with 100. `inside` is what "
        f"lies {BORDER} pixels or more from every border, where the nets meet the image at another "
        "phase of their stride, and nothing else is different; nearer to the border, less of the "
        "padding is seen, and the coarse scores fade.",
    ]
    tables = [
        Table(
            f"The demo's nets on {len(scenes)} scenes, percent",
            ["net", "pad", "mean IU", "inside", "same labels", "same labels inside"],
            rows,
        ),
        Table(
            f"{Fraction(TIMED_WIDTH)} of the width, {TIMED_SIZE} x {TIMED_SIZE}, one forward pass "
            "on the CPU",
            ["net", "pad", "CPU seconds", "MiB at the peak"],
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


# ------------------------------------------------------------------- the page


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def offset_table() -> str:
    """The crop offsets of every variant as the padding gives them."""
    from net_gen import VARIANTS, padding

    rows = []
    for net in VARIANTS:
        none, own = padding.Geometry(net, 0), padding.Geometry(net)
        for crop, offset in own.offsets.items():
            free = none.offsets[crop]
            grows = own.offsets[crop] - free == own.pad
            rows.append((net, crop, f"pad - {-free}" if grows else "any pad", offset))
    return _table(["net", "crop", "offset", f"at {own.pad}"], rows)


def limit_table() -> str:
    """What the classifier's own padding, the least ones and the published one allow."""
    from net_gen import CLASSIFIERS, VARIANTS, padding

    rows = []
    for net, what in VARIANTS.items():
        classifier = CLASSIFIERS[what.trunk]("deploy")
        own = padding.first_convolution(classifier).convolution_param.pad
        bare = padding.limits(net, own[0] if own else 0)[0]
        never = padding.least_padding(net, bare.period * 100)
        from_there = padding.smallest_input(net, never)[0]
        rows.append(
            [
                net,
                f"{bare.pad}: {bare.smallest}, {'not aligned' if bare.fault else 'aligned'}",
                f"{never}: {from_there}",
                padding.least_padding(net),
                max(padding.smallest_input(net)),
            ]
        )
    head = [
        "net",
        "classifier's own: smallest input with scores",
        "least that aligns: smallest input",
        "least for every size",
        "smallest input at 100",
    ]
    return _table(head, rows)


def first_score_table() -> str:
    """Where the first value of `score_fr` lies at the paddings of every variant."""
    from net_gen import VARIANTS

    rows = []
    for net in VARIANTS:
        pads = sorted(set(paddings(net, DRAWN_SIZE)), reverse=True)
        found = (
            f"{pad}: {places(net, pad, DRAWN_SIZE, ('score_fr',))[0][0].first}" for pad in pads
        )
        rows.append([net, ", ".join(found)])
    return _table(["net", "pad: pixel of the first value of score_fr"], rows)


def page(result: Result) -> str:
    """docs/padding.md, of the generator's numbers and of what was measured."""
    from net_gen import padding

    drawn = drawn_paddings()
    bare, least, published = (padding.limits(DRAWN_NET, pad)[0] for pad in drawn)
    alexnet = padding.least_padding("voc-fcn-alexnet", 1000)
    missed = padding.limits("voc-fcn-alexnet", alexnet - 1)[0]
    fields = padding.Geometry(HEAD_NET).fields
    measured = "\n\n".join(
        f"**{table.title}**\n\n" + _table(table.head, table.rows) for table in result.tables
    )
    text = f"""# Why pad {published.pad}

Written by `python -m experiments.padding --docs`. Every number and drawing comes from the layers of
the generated nets, by `net_gen.padding`; the last section is measured.

## What the padding does

A net scores its image in steps of {published.period} pixels, and only where the window of `fc6`
lies within `pool5`. Upsampled, these scores have to reach over the whole image before `score` can
be cut out of them, pixel on pixel. The only freedom in that is how much is put around the image
first, in the first convolution.

![Blobs over the image at three paddings](padding/{PLACES})

The bands are blobs, from the left end of their first value to the right end of their last, over the
pixels of an image of {DRAWN_SIZE}; the numbers are how many values they have. With a padding of
{bare.pad}, the classifier's own, there is one score, for the middle of the image, and none at all
for an image under {bare.smallest}. With {least.pad} the upsampled scores cover the image and no
more. With {published.pad} they do for an image of any size, one pixel included, and
{published.offsets["score"]} pixels are cut away before the first one.

## Coordinate maps and crop offsets

A layer takes what lies at x in its bottom to scale * x + shift in its top. Counting positions from
0, a convolution or pooling of kernel k, stride s and padding p has the map

    x -> x / s + (p - (k - 1) / 2) / s

a Deconvolution x -> s * x + (k - 1) / 2 - p, a Crop x -> x - offset, every other layer
x -> x. Composed from the image on, they say where a blob lies; composed between the two bottoms of
a Crop, they give its offset. The maps of {HEAD_NET}, in `caffe.coord_map`'s form (axis, scale,
shift), and how many pixels of the image, a side, one value sees:

{_table(["blob", "axis", "scale", "shift", "sees"], padding.rows(HEAD_NET))}

`score` has scale 1 and shift 0: it lies on the image. The skips are cropped the same way, to the
place of the scores that they are added to. The bilinear kernels make a value of `score` see up to
{fields["score"]} pixels, {fields["score"] - fields["score_fr"]} more than a value of `score_fr`.

![The head of FCN-8s](padding/{HEAD})

Only the last offset grows with the padding, pixel by pixel; between two blobs behind the first
convolution nothing changes.

{offset_table()}

## The least padding

Aligned means: no blob is empty, each crop offset is a whole number from 0 on, no crop reaches past
its blob; `score` then has the size of `data` and the map x -> x.

{limit_table()}

![The smallest input by padding](padding/{LIMITS})

An offset of 0 is not enough. {_alexnet_sentence(alexnet, missed)}

That a padding serves every size is proven, not sampled: {published.period} more pixels make every
blob larger by {published.period} times its scale, whatever the rounding of the layers, so what a
crop leaves over repeats every {published.period} sizes, and that many in a row are checked. The
tests build the nets at every size up to 600 and compare all blobs.

GoogLeNet has no window behind its last module, and no need for {published.pad}, which is only the
generator's default.

What less padding costs: a pixel before the first value of `score_fr` is interpolated between that
value and nothing, so its coarse scores fade towards the border. In a net without skips all classes
fade alike, and the largest stays the largest; with skips the finer scores, which do not fade, get
the upper hand there. The first value lies at

{first_score_table()}

## In Python

{_usage()}

`padding.with_padding(net, pad)` does it to any NetParameter, also of your own trunk and head.

## Measured

{(chr(10) * 2).join(result.text)}

{measured}

The embedded engine computes in a forward pass only what the image reaches, and the empty border
once, on a small map; so less padding saves little here. BVLC Caffe computes all of it.

![Scenes with two paddings](padding/{SCENES_SHOWN})
"""
    return "\n\n".join(map(_filled, text.rstrip().split("\n\n"))) + "\n"


def _filled(block: str) -> str:
    """A paragraph broken anew into lines; tables, code and headings as they are."""
    if block.startswith(("#", "|", "!", "*", "    ", "\n")):
        return block
    return textwrap.fill(
        " ".join(block.split()), 100, break_long_words=False, break_on_hyphens=False
    )


def _usage() -> str:
    """Calls of `net_gen.padding`, and what they give."""
    from net_gen import fcn, padding

    names = {"fcn": fcn, "padding": padding}
    calls = [
        f'padding.least_padding("{HEAD_NET}")',
        f'padding.least_padding("{HEAD_NET}", {DRAWN_SIZE})',
        f'padding.smallest_input("{DRAWN_NET}", {drawn_paddings()[1]})',
        f'padding.limits("{DRAWN_NET}", 1)[0].smallest',
        f'padding.Geometry("{HEAD_NET}").fields["fc7"]',
        f'padding.coordinate_maps("{HEAD_NET}")["conv1_1"]',
    ]
    pad = padding.least_padding(HEAD_NET, DRAWN_SIZE)
    lines = [
        "from net_gen import fcn, padding",
        "",
        *(f"{call:<56}# {_plain(eval(call, names))}" for call in calls),
        f'net = fcn("{HEAD_NET}", "deploy", pad={pad})',
    ]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _plain(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, tuple) else str(value)


def _alexnet_sentence(least: int, missed: Any) -> str:
    from net_gen import padding

    zero = int(-padding.Geometry("voc-fcn-alexnet", 0).offsets["score"])
    return (
        f"AlexNet's is 0 at {zero}, yet from {zero} to {least - 1} some sizes lack pixels at the "
        f"far end: at {missed.pad}, {missed.fault}."
    )


def docs(result: Result, out: str, folder: str = DOCS) -> str:
    """Write padding.md into a folder, and padding/ with its drawings and result; its path."""
    beside = os.path.join(folder, "padding")
    os.makedirs(beside, exist_ok=True)
    draw(beside)
    source = os.path.join(out, "padding")
    for name in (SCENES_SHOWN, report.RESULT):
        partial = os.path.join(beside, f"{name}.{os.getpid()}.partial")
        shutil.copyfile(os.path.join(source, name), partial)
        os.replace(partial, os.path.join(beside, name))
    path = os.path.join(folder, "padding.md")
    write_text(path, page(result))
    return path


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Makes the result, if it is not made; with --docs, the page of it."""
    parser = report.parser(__doc__)
    parser.add_argument("--docs", action="store_true", help="write docs/padding.md too")
    args = parser.parse_args(argv)
    result = report.make(run, args.out, args.demo, args.gpu)
    if args.docs:
        print(docs(result, os.path.abspath(args.out)))


if __name__ == "__main__":
    report.stop_in_order()
    command.run(main)
