"""Four ways from coarse scores to a score for every pixel, on one net and one data set.

python -m experiments.upsampling [--scenes N --dense-scenes N --iters N]

The net is the demo's FCN-32s. Shift-and-stitch, filter rarefaction, bilinear interpolation, and
the Deconvolution with fixed and with learned kernels (Long et al., arXiv 1411.4038, sections 3.2
and 3.3), each with its accuracy, its time and its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from experiments import report, training
from solvers.device import Gpu

# ------------------------------------------------------------------- knobs
VARIANT, BLOB, UP = "voc-fcn32s", "score_fr", "upscore"
SCENES = 16  # of the test split, that every way but the dense ones is scored on
DENSE_SCENES = 4  # of these, the ones for the dense map
STITCHED_SCENES = 1  # of these, the ones seen 1024 times
PART = 8  # pixels, the stride of the maps between the coarse and the dense one
ITERS = 200  # of learning the kernels, and of its control
THREADS = 1  # of the measured processes
SHOWN = 3
# --------------------------------------------------------------------------


class Way(NamedTuple):
    """A row of the table.

    kind: what `predict` does: the net gives the pixels' "score", its map is interpolated
        ("coarse"), or its passes are put together ("stitch"). scenes: how many it is scored on.
    """

    title: str
    kind: str
    scenes: int
    stride: int
    passes: int = 1


def ways(scenes: int, dense: int, stitched: int) -> Dict[str, Way]:
    dense, stitched = min(scenes, dense), min(scenes, dense, stitched)
    part = f"to stride {PART}"
    return {
        "bilinear": Way("bilinear interpolation", "coarse", scenes, 32),
        "fixed": Way("Deconvolution, fixed", "score", scenes, 32),
        "control": Way("Deconvolution, fixed, trained on", "score", scenes, 32),
        "learned": Way("Deconvolution, learned", "score", scenes, 32),
        "stitched_part": Way(f"shift-and-stitch {part}", "stitch", scenes, PART, (32 // PART) ** 2),
        "rarefied_part": Way(f"filter rarefaction {part}", "coarse", scenes, PART),
        "stitched": Way("shift-and-stitch", "stitch", stitched, 1, 32**2),
        "rarefied": Way("filter rarefaction", "score", dense, 1),
    }


def with_learned(net: Any) -> Any:
    """A training net whose Deconvolution `upscore` learns at the rate of every other weight."""
    layers = {layer.name: layer for layer in net.layer}
    if UP in layers and layers[UP].param:
        layers[UP].param[0].lr_mult = 1
    return net


def net_of(folder: str, demo: training.Demo, learned: bool) -> training.Net:
    """FCN-32s by split, its kernels learned or fixed."""
    net = training.fcn(VARIANT, folder, demo)
    return (lambda split: with_learned(net(split))) if learned else net


def train(folder: str, demo: training.Demo, iters: int, gpu: Gpu) -> Dict[str, Any]:
    """Trains FCN-32s on with learned and with fixed kernels; the scores of both on the split."""
    scores = {}
    for name in ("control", "learned"):
        place = os.path.join(folder, name)
        scores[name] = training.train(
            place,
            net_of(place, demo, learned=name == "learned"),
            dict(demo.solver(VARIANT), max_iter=demo.iters(iters)),
            demo.stage(VARIANT),
            demo.seed,
            gpu,
        )
    return scores


class Files(NamedTuple):
    """net, weights: paths. lines: (stride, origin) in pixels of the scores, down and across."""

    net: str
    weights: str
    lines: Sequence[Sequence[float]]


def nets(folder: str, demo: training.Demo) -> Dict[str, Files]:
    """Writes the prototxt of each way."""
    import net_gen
    import surgery
    from solvers import available, shift_stitch

    net = training.fcn(VARIANT, folder, demo)("deploy")
    # One net for what has to be equal: all padding in the first layer, and enough of it.
    padded = shift_stitch.reaching(net, BLOB)
    made = {
        "bilinear": surgery.rarefy(net, BLOB, 32),
        "fixed": net,
        "control": net,
        "learned": net,
        "stitched_part": surgery.rarefy(padded, BLOB, 32),
        "rarefied_part": surgery.rarefy(padded, BLOB, PART),
        "stitched": surgery.rarefy(padded, BLOB, 32),
        "rarefied": shift_stitch.dense_net(padded, BLOB),
    }
    # A rarefied net's first position is where the strided net's is.
    lines = {name: shift_stitch.places(net, BLOB) for name in made}
    for name in ("stitched_part", "stitched", "rarefied_part", "rarefied"):
        lines[name] = shift_stitch.places(padded, BLOB)
    found = {}
    for name, param in made.items():
        trained = os.path.join(folder, name) if name in ("control", "learned") else None
        weights = available.weights_of(trained) if trained else demo.weights(VARIANT)
        strides = {"rarefied_part": PART, "rarefied": 1}
        found[name] = Files(
            os.path.join(folder, name + ".prototxt"),
            weights,
            [[float(strides.get(name, line.stride)), float(line.origin)] for line in lines[name]],
        )
        # The caller reshapes; until then the net need not be larger than a thumbnail.
        param.layer[0].input_param.shape[0].dim[2:] = [64, 64]
        net_gen.write(param, found[name].net)
    return found


def predict(net: Any, lines: Sequence[Sequence[float]], way: Way, data: np.ndarray) -> np.ndarray:
    """The scores, K x H x W, of an image C x H x W as the net takes it."""
    from solvers import shift_stitch

    rows, columns = (shift_stitch.Line(*map(Fraction, line)) for line in lines)

    if way.kind == "score":
        return shift_stitch.forward(net, data, "score")
    if way.kind == "coarse":
        found = shift_stitch.one_pass(net, (rows, columns), data, BLOB)
    else:
        found = shift_stitch.shift_and_stitch(
            net, (rows, columns), data, BLOB, way.stride, way.title
        )
        if way.stride == 1:
            return shift_stitch.to_pixels(found, *data.shape[1:])
    return shift_stitch.interpolate(found, *data.shape[1:])


def measured(job_file: str) -> None:
    """The work of a child process: predicts the scenes of a job, writes what it took beside it.

    Its peak memory is its own, which is why it is a process of its own.
    """
    import resource

    import caffe

    from fcn_common.files import write_text
    from solvers import device, infer
    from solvers.score import fast_hist

    with open(job_file) as file:
        job = json.load(file)
    device.use(job["gpu"])
    way = Way(*job["way"])
    net = caffe.Net(job["net"], job["weights"], caffe.TEST)
    seconds: List[float] = []
    hists: List[np.ndarray] = []
    labels: List[np.ndarray] = []
    first: Optional[np.ndarray] = None
    for name in job["scenes"]:
        photo, truth = scene(job["voc"], name)
        data = photo[:, :, ::-1].astype(np.float32) - np.array(infer.MEAN, np.float32)
        data = np.ascontiguousarray(data.transpose(2, 0, 1))
        started = time.time()
        scores = predict(net, job["lines"], way, data)
        label = scores.argmax(0).astype(np.uint8)
        seconds.append(time.time() - started)
        first = np.array(scores) if first is None else first
        hists.append(fast_hist(truth, label, len(scores)))
        labels.append(label)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = peak / (1e6 if sys.platform == "darwin" else 1e3)
    arrays = {f"label{i}": label for i, label in enumerate(labels[: max(SHOWN, DENSE_SCENES)])}
    save(job["arrays"], hists=np.array(hists), first=first, **arrays)
    found = dict(job, seconds=seconds, megabytes=megabytes)
    write_text(job["found"], json.dumps(found) + "\n")


def save(path: str, **arrays: Any) -> None:
    """np.savez, but the file appears whole."""
    partial = f"{path}.{os.getpid()}.npz"
    try:
        np.savez_compressed(partial, **arrays)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def scene(voc: str, name: str) -> Tuple[np.ndarray, np.ndarray]:
    """A photograph (H x W x 3, RGB) and its truth (H x W)."""
    from PIL import Image

    from solvers import infer

    with Image.open(os.path.join(voc, "SegmentationClass", name + ".png")) as image:
        truth = np.asarray(image)
    return infer.read(os.path.join(voc, "JPEGImages", name + ".jpg")), truth


def measure(
    folder: str, name: str, way: Way, files: Files, demo: training.Demo, gpu: Gpu
) -> Dict[str, Any]:
    """What a child process found for a way; measured once, then read."""
    from fcn_common.files import write_text

    stem = os.path.join(folder, name)
    job = {
        **files._asdict(),
        "way": list(way),
        "scenes": list(demo.test_images())[: way.scenes],
        "voc": demo.voc,
        "gpu": gpu,
        "found": stem + ".json",
        "arrays": stem + ".npz",
    }
    if os.path.isfile(job["found"]):  # type: ignore[arg-type]
        with open(job["found"]) as file:  # type: ignore[arg-type]
            found = json.load(file)
        if {key: found.get(key) for key in job} == job:
            return found
    print(f"upsampling: {way.title}, {len(job['scenes'])} scenes", flush=True)  # type: ignore[arg-type]
    write_text(stem + ".job", json.dumps(job) + "\n")
    threads = {f"{lib}_NUM_THREADS": str(THREADS) for lib in ("OMP", "OPENBLAS", "MKL")}
    code = "import sys; from experiments import upsampling; upsampling.measured(sys.argv[1])"
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    result = subprocess.run(
        [sys.executable, "-c", code, stem + ".job"],
        env=dict(os.environ, GLOG_minloglevel="2", PYTHONPATH=path, **threads),
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"upsampling, {way.title}: its process ended with {last}")
    with open(stem + ".json") as file:
        return json.load(file)


def run(
    out: str,
    demo: str,
    gpu: Gpu = None,
    scenes: Optional[int] = None,
    dense_scenes: Optional[int] = None,
    iters: Optional[int] = None,
) -> report.Result:
    found = training.finished(demo)
    folder = os.path.join(out, "upsampling")
    os.makedirs(folder, exist_ok=True)
    count = min(scenes or SCENES, len(found.test_images()))
    rows = ways(count, dense_scenes or DENSE_SCENES, STITCHED_SCENES)
    trained = train(folder, found, iters or ITERS, gpu)
    files = nets(folder, found)
    measures = {n: measure(folder, n, w, files[n], found, gpu) for n, w in rows.items()}
    arrays = {}
    for name in rows:
        with np.load(os.path.join(folder, name + ".npz")) as loaded:
            arrays[name] = dict(loaded)
    whole = found.scores(VARIANT)
    draw(found, arrays, rows, os.path.join(folder, "upsampling.png"))
    return report.Result(
        "upsampling",
        "Ways to upsample",
        _text(rows, measures, arrays, whole, trained, len(found.test_images())),
        [_table(rows, measures, arrays), _trained_table(whole, trained, len(found.test_images()))],
        [
            report.Figure(
                "upsampling.png",
                "The same FCN-32s, upsampled in different ways. The dense map is that of filter "
                "rarefaction; shift-and-stitch gives the same.",
            )
        ],
    )


def _scores(hists: np.ndarray, scenes: int) -> Optional[Dict[str, Any]]:
    from solvers.score import metrics

    return metrics(hists[:scenes].sum(0)) if len(hists) >= scenes else None


def _table(
    rows: Dict[str, Way], measures: Dict[str, Dict[str, Any]], arrays: Dict[str, Any]
) -> report.Table:
    few, many = rows["rarefied"].scenes, rows["fixed"].scenes
    lines: List[Sequence[report.Cell]] = []
    for name, way in rows.items():
        # Shift-and-stitch is seen on fewer scenes; its scores are those of its equal.
        hists = arrays["rarefied" if name == "stitched" else name]["hists"]
        cells: List[report.Cell] = [way.title, report.count(way.stride), report.count(way.passes)]
        cells += [report.Number(float(np.median(measures[name]["seconds"])), ",.2f")]
        cells += [report.count(measures[name]["megabytes"])]
        for scenes in (few, many):
            scores = _scores(hists, scenes) or {}
            cells += [report.percent(scores.get(m)) for m in ("pixel_accuracy", "mean_iu")]
        lines.append(cells)
    head = ["way", "stride", "passes", "s per image", "peak MB"]
    head += [f"{m}, {n} scenes" for n in (few, many) for m in ("pixel acc.", "mean IU")]
    return report.Table(f"One net, upsampled; {THREADS} thread", head, lines)


def _trained_table(
    whole: Dict[str, Any], trained: Dict[str, Dict[str, Any]], images: int
) -> report.Table:
    named = {
        "FCN-32s as the demo trained it": whole,
        "trained on, kernels fixed": trained["control"],
        "trained on, kernels learned": trained["learned"],
    }
    metrics = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc")
    rows: List[Sequence[report.Cell]] = [
        [title, *(report.percent(s[m]) for m in metrics)] for title, s in named.items()
    ]
    head = ["Deconvolution", "pixel acc.", "mean acc.", "mean IU", "f.w. IU"]
    return report.Table(f"All {images} scenes of the test split", head, rows)


def _text(
    rows: Dict[str, Way],
    measures: Dict[str, Dict[str, Any]],
    arrays: Dict[str, Any],
    whole: Dict[str, Any],
    trained: Dict[str, Dict[str, Any]],
    images: int,
) -> List[str]:
    def apart(a: str, b: str) -> Tuple[float, int]:
        """Largest difference of the first scene's scores, and labels that differ."""
        x, y = arrays[a]["first"], arrays[b]["first"]
        wrong = int((x.argmax(0) != y.argmax(0)).sum())
        return float(np.abs(x - y).max() / np.abs(y).max()), wrong

    dense, part, lines = (
        apart(*pair)
        for pair in (
            ("stitched", "rarefied"),
            ("stitched_part", "rarefied_part"),
            ("bilinear", "fixed"),
        )
    )
    seconds = {name: float(np.median(m["seconds"])) for name, m in measures.items()}
    memory = {name: m["megabytes"] for name, m in measures.items()}
    gain = 100 * (trained["learned"]["mean_iu"] - trained["control"]["mean_iu"])
    return [
        "FCN-32s scores one position in 32 x 32 pixels. Shift-and-stitch lets the same net see the "
        "image 1024 times, moved right and down by 0 to 31 pixels, and interlaces the coarse maps; "
        "the trick is OverFeat's. Filter rarefaction gets the same map in one pass: every stride "
        "is taken away and the filters behind it are spread over every 2nd, 4th, ... 32nd position "
        "in its place, as in the a trous algorithm. A max pooling has no dilation in Caffe; it "
        "becomes the maximum of shifted crops. The other ways stay coarse and draw lines between "
        "the positions: by interpolation, or by a Deconvolution whose kernel is set to do just "
        "that, or starts there and is learned.",
        f"On the scene that was seen 1024 times the two dense maps differ by {dense[0]:.1e} of the "
        f"largest score, and in {dense[1]} labels. At stride {PART} it is {part[0]:.1e} and "
        f"{part[1]} labels. They are equal for a net that pads the image alone, so here the "
        "padding of all layers is moved to the first, which leaves every position where it is but "
        "shows the layers something else at the border than zeros. The five poolings, of even "
        "kernels, put the dense positions half-way between pixels; each pixel takes the one half a "
        "pixel further right and down.",
        f"One dense map took {seconds['stitched']:.0f} s by shifts and {seconds['rarefied']:.0f} s "
        f"by rarefaction, {seconds['stitched'] / seconds['rarefied']:.1f} times less, for "
        f"{memory['rarefied']:,.0f} MB instead of {memory['stitched']:,.0f} MB; the coarse net "
        f"with its fixed Deconvolution takes {seconds['fixed']:.2f} s and "
        f"{memory['fixed']:,.0f} MB. Memory is the highest that a process of its own took, times "
        f"are medians over images with {THREADS} thread. Accuracy of the dense map is that of the "
        "rarefied net.",
        f"Interpolation and the fixed Deconvolution differ in {lines[1]} labels of the first "
        "scene: the kernel is that interpolation, but for the border, where the Deconvolution "
        "fades all scores alike.",
        f"Learning the kernels changes the mean IU on all {images} scenes by {gain:+.1f} points "
        f"against as many iterations with fixed ones ({100 * trained['control']['mean_iu']:.1f} to "
        f"{100 * trained['learned']['mean_iu']:.1f}; before both {100 * whole['mean_iu']:.1f}).",
    ]


def draw(demo: training.Demo, arrays: Dict[str, Any], rows: Dict[str, Way], path: str) -> None:
    """Photographs, what each way makes of them, and the truth."""
    from solvers import figures

    columns = {
        "bilinear": "bilinear",
        "fixed": "fixed",
        "learned": "learned",
        "rarefied_part": f"stride {PART}",
        "rarefied": "dense",
    }
    pictures = []
    for i, name in enumerate(list(demo.test_images())[: min(SHOWN, rows["rarefied"].scenes)]):
        photo, truth = scene(demo.voc, name)
        pictures.append((photo, [*(arrays[c][f"label{i}"] for c in columns), truth]))
    figures.side_by_side(pictures, [*columns.values(), "truth"], path)


def main(argv: Optional[Sequence[str]] = None) -> None:
    def add(parser: Any) -> None:
        parser.add_argument("--scenes", type=int, help=f"to score on ({SCENES})")
        parser.add_argument("--dense-scenes", type=int, help=f"for the dense map ({DENSE_SCENES})")
        parser.add_argument("--iters", type=int, help=f"of learning the kernels ({ITERS})")

    report.main(run, __doc__, argv, add)


if __name__ == "__main__":
    main()
