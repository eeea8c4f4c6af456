"""The whole way to a variant: data, base weights, surgery, stages; each only if not done yet.

    python -m solvers.chain voc-fcn8s [--data demo] [--iters N] [--gpu N|cpu]

With `--data demo` the demo set, drawn at 500 pixels, lies under the full-size nets, and all that
comes of it goes to runs/demo-full/.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any, List, Optional, Sequence, Tuple

import net_gen
import surgery
from solvers import available, device, stage, workers
from solvers.available import ROOT

NETS = os.path.join(ROOT, "ilsvrc-nets")
DEMO_DATA = os.path.join(ROOT, "data", "demo-full")
DEMO_RUNS = os.path.join(ROOT, "runs", "demo-full")
DEMO_TRAIN, DEMO_VAL = 16, 4
DEMO_SCALE = 500 / 240  # of the demo set's largest side, for images of 500 pixels
WIDTH = 1  # of the nets over the demo set


def run(
    variant: str,
    data: str = "voc",
    iters: Optional[int] = None,
    gpu: device.Gpu = None,
    images: Optional[int] = None,
) -> None:
    """Train the stages up to `variant`, on `data`: `voc` (SBD and VOC 2011) or `demo`.

    iters: iterations of each stage; images: how many val images to score. Raises ValueError or
    OSError with what is missing and where to get it.
    """
    if variant not in net_gen.VARIANTS:
        raise ValueError(f"variant {variant}: needed one of {', '.join(net_gen.VARIANTS)}")
    if data not in ("voc", "demo"):
        raise ValueError(f"data {data}: needed voc or demo")
    started = time.time()
    names = stages(variant)
    # The first worker makes what is not there; the others, after it, find it.
    with workers.one_at_a_time(os.path.join(ROOT, "runs", ".prepare")):
        folders, base = _prepare(names, data)
    for name in names:
        init = net_gen.VARIANTS[name].init
        folder = os.path.join(folders, name)
        weights = os.path.join(folders, init) if init else base
        stage.run(folder, weights, iters, images=images, gpu=gpu)
    workers.say(f"{variant} is trained: {available.weights_of(os.path.join(folders, variant))}")
    workers.say(f"{time.time() - started:.0f} s, peak memory {peak_memory():.1f} GB")


def _prepare(names: Sequence[str], data: str) -> Tuple[str, str]:
    """Data and base weights for these stages: the folder of the stages, and the base weights."""
    trunk = net_gen.VARIANTS[names[-1]].trunk
    if data == "demo":
        prepare_demo(names)
        return DEMO_RUNS, demo_base(trunk)
    from fcn_data.published import fetch

    files = ["sbd", "voc2011", "seg11valid"]
    needed = [] if os.path.isfile(paths(trunk)[1]) else [surgery.BASES[trunk].classifier]
    fetch(*files, *needed)
    return ROOT, cast_base(trunk)


def stages(variant: str) -> List[str]:
    """The variants from the first stage to this one."""
    init = net_gen.VARIANTS[variant].init
    return [*(stages(init) if init else []), variant]


def paths(trunk: str) -> Tuple[str, str]:
    """Where the classifier of a trunk lies, and where the net that is cast from it."""
    base = surgery.BASES[trunk]
    return os.path.join(NETS, base.weights), os.path.join(NETS, base.cast)


def cast_base(trunk: str) -> str:
    """The cast classifier of a trunk, made if it is not there; its path."""
    weights, out = paths(trunk)
    if not os.path.isfile(out):
        print(f"casting {weights} into a fully convolutional net")
        base = surgery.BASES[trunk]
        deploy = os.path.join(ROOT, base.variant, "deploy.prototxt")
        prototxt = weights.replace(".caffemodel", "_deploy.prototxt")
        classifier = prototxt if os.path.isfile(prototxt) else base.classifier
        print(surgery.cast(classifier, weights, deploy, out))
    return out


def prepare_demo(variants: Sequence[str]) -> None:
    """The demo set at 500 pixels and the prototxts of these variants over it."""
    from fcn_data import demo

    few = {"train": DEMO_TRAIN, "val": DEMO_VAL, "test": 1, "crops": 21, "crops_val": 21}
    demo.make(DEMO_DATA, scale=DEMO_SCALE, **few)  # type: ignore[arg-type]
    for name in variants:
        folder = os.path.join(DEMO_RUNS, name)
        here = os.path.relpath(DEMO_DATA, folder)
        net_gen.generate(
            name,
            folder,
            {"test_iter": [DEMO_VAL]},
            width=WIDTH,
            sbdd_dir=os.path.join(here, "sbdd", "dataset"),
            voc_dir=os.path.join(here, "pascal", "VOC2011"),
        )


def demo_base(trunk: str) -> str:
    """The cast classifier of a trunk if there is one, else a random one, said aloud; its path."""
    if any(map(os.path.isfile, paths(trunk))):
        return cast_base(trunk)
    base = surgery.BASES[trunk]
    path = os.path.join(DEMO_RUNS, base.cast)
    if not os.path.isfile(path):
        print(
            f"NOTE: {paths(trunk)[0]} is not there, so the nets start from RANDOM weights (He "
            "initialisation). This shows that the chain runs; it does not train a useful net.",
            file=sys.stderr,
        )
        classifier = os.path.join(DEMO_RUNS, base.classifier + ".prototxt")
        weights = os.path.join(DEMO_RUNS, base.classifier + "-random.caffemodel")
        net = net_gen.CLASSIFIERS[base.classifier]("deploy", width=WIDTH)
        net_gen.write(with_fillers(net, "msra"), classifier)
        random_weights(classifier, weights)
        deploy = os.path.join(DEMO_RUNS, base.variant, "deploy.prototxt")
        net_gen.write(net_gen.fcn(base.variant, "deploy", width=WIDTH), deploy)
        print(surgery.cast(classifier, weights, deploy, path))
        os.remove(weights)
    return path


def with_fillers(net: Any, filler: str) -> Any:
    """The NetParameter with this weight filler in every layer that computes with weights."""
    for layer in net.layer:
        for kind, param in (
            ("Convolution", layer.convolution_param),
            ("InnerProduct", layer.inner_product_param),
        ):
            if layer.type == kind:
                param.weight_filler.type = filler
    return net


def random_weights(prototxt: str, out: str, seed: int = 1) -> None:
    """Write the weights that the fillers of a prototxt give."""
    import caffe

    caffe.set_random_seed(seed)
    surgery.save(caffe.Net(prototxt, caffe.TEST), out)


def peak_memory() -> float:
    """The most memory that this process has held, in GB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m solvers.chain",
        description="Train up to a variant, doing only what is not done yet: data, base weights, "
        "surgery, stages.",
    )
    parser.add_argument("variant", help=", ".join(net_gen.VARIANTS))
    parser.add_argument("--data", default="voc", help="voc (SBD and VOC 2011) or demo")
    parser.add_argument("--iters", type=int, help="iterations of each stage")
    parser.add_argument("--images", type=int, help="score only so many of the val images")
    parser.add_argument("--gpu", help="number of a CUDA device, or cpu")
    args = parser.parse_args(argv)
    run(args.variant, args.data, args.iters, args.gpu, args.images)


if __name__ == "__main__":
    from solvers import main as program

    program(main)
