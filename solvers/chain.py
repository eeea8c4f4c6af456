"""All steps up to a trained variant: data, base weights, surgery, stages.

    python -m solvers.chain voc-fcn8s [--data demo] [--iters N] [--images N] [--gpu N|cpu]

Finished steps are skipped. With `--data demo`, the full-size nets are trained on the demo set,
drawn at 500 pixels, in the folder runs/demo-full/.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import caffe

import net_gen
import surgery
from fcn_common import arguments, command
from fcn_common.memory import peak_memory
from fcn_data import DATA_SETS, DEMO, VOC, demo, published
from solvers import available, device, stage, workers
from solvers.folders import ROOT

NETS = os.path.join(ROOT, "ilsvrc-nets")
DEMO_DATA = os.path.join(ROOT, "data", "demo-full")
DEMO_RUNS = os.path.join(ROOT, "runs", "demo-full")
DEMO_TRAIN, DEMO_VAL = 16, 4
#: Enlarges the demo set, whose largest side is 240 pixels, to 500 pixels.
DEMO_SCALE = 500 / 240
#: Width of the nets on the demo set, as a fraction of every channel count.
WIDTH = 1


def run(
    variant: str,
    data: Optional[str] = None,
    iters: Optional[int] = None,
    gpu: device.Gpu = None,
    images: Optional[int] = None,
) -> None:
    """Train all stages up to `variant`, a key of `net_gen.VARIANTS`.

    data: a key of `DATA_SETS`: the variant's data set (the default) or "demo".
    iters: iterations of each stage (max_iter of solver.prototxt). gpu: as for `device.use`.
    images: how many images of the val split are scored (all).

    Raises ValueError or OSError that names what is missing and where to get it.
    """
    if variant not in net_gen.VARIANTS:
        raise ValueError(f"variant is {variant!r}, needs one of {', '.join(net_gen.VARIANTS)}")
    data_set = net_gen.VARIANTS[variant].data.name
    data = data or data_set
    if data not in (data_set, DEMO.name):
        raise ValueError(f"data {data}: needed {data_set} or {DEMO.name} for {variant}")
    started = time.time()
    names = stages(variant)
    # The first worker prepares what is missing; then the others have nothing to prepare.
    with workers.one_at_a_time(os.path.join(ROOT, "runs", ".prepare")):
        folders, base = _prepare(names, data)
    for name in names:
        _train(name, folders, base, iters, images, gpu)
    workers.say(f"{variant} is trained: {available.weights_of(os.path.join(folders, variant))}")
    memory = peak_memory() / 1e9
    workers.say(f"{time.time() - started:.0f} s, peak memory {memory:.1f} GB")


def _train(
    name: str,
    folders: str,
    base: str,
    iters: Optional[int],
    images: Optional[int],
    gpu: device.Gpu,
) -> None:
    """Train the variant `name` in its folder below `folders`, as its solve.py does."""
    variant = net_gen.VARIANTS[name]
    renamed = variant.branches[0].renamed
    weights: Union[str, Dict[str, str]] = base
    if variant.init:
        weights = os.path.join(folders, variant.init)
    parents = {branch.suffix: branch.init for branch in variant.branches if branch.init}
    if parents:
        weights = {suffix: os.path.join(folders, init) for suffix, init in parents.items()}
    every = variant.score_every
    folder = os.path.join(folders, name)
    stage.run(folder, weights, iters, images, gpu, renamed=renamed, every=every)


def _prepare(names: Sequence[str], data: str) -> Tuple[str, str]:
    """Prepare the data and the base weights of stages; return their folder and the weights."""
    trunk = net_gen.VARIANTS[names[-1]].trunk
    if data == DEMO.name:
        prepare_demo(names)
        return DEMO_RUNS, demo_base(trunk)
    fetched = os.path.isfile(paths(trunk)[1])
    classifiers = [] if fetched else [surgery.BASES[trunk].classifier]
    published.fetch(*DATA_SETS[data].archives, *classifiers)
    return ROOT, cast_base(trunk)


def stages(variant: str) -> List[str]:
    """Return the variants to train, from the first stage to this one."""
    before = [name for parent in net_gen.VARIANTS[variant].parents for name in stages(parent)]
    return [*dict.fromkeys(before), variant]


def paths(trunk: str) -> Tuple[str, str]:
    """Return the paths of the weights of a trunk's classifier and of the net cast from it."""
    base = surgery.BASES[trunk]
    return os.path.join(NETS, base.weights), os.path.join(NETS, base.cast)


def cast_base(trunk: str) -> str:
    """Cast the classifier of a trunk, unless that is done; return the path of the cast weights."""
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
    """Draw the demo set at 500 pixels, and write the prototxts of these variants for it.

    The variants of VOC read the set in `DEMO_DATA`, those of another data set the same scenes in
    the layout of that set, in `DEMO_DATA`-NAME.
    """
    for name in variants:
        folder = os.path.join(DEMO_RUNS, name)
        variant = net_gen.VARIANTS[name]
        data = DEMO_DATA
        if variant.data.name == VOC.name:
            counts = {"train": DEMO_TRAIN, "val": DEMO_VAL, "test": 1, "crops": 21, "crops_val": 21}
            demo.make(data, scale=DEMO_SCALE, **counts)  # type: ignore[arg-type]
            variant = variant._replace(data_set=DEMO.name)
        else:
            data = f"{DEMO_DATA}-{variant.data.name}"
            demo.layouts.make(variant.data.name, data, DEMO_TRAIN, DEMO_VAL, scale=DEMO_SCALE)
        variant = variant._replace(data_root=os.path.relpath(data, folder))
        net_gen.generate(variant, folder, {"test_iter": [DEMO_VAL]}, width=WIDTH)


def demo_base(trunk: str) -> str:
    """Return the path of a trunk's cast classifier, or of random weights after a note."""
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
    """Return the NetParameter with a weight filler in each Convolution and InnerProduct layer."""
    for layer in net.layer:
        for kind, param in (
            ("Convolution", layer.convolution_param),
            ("InnerProduct", layer.inner_product_param),
        ):
            if layer.type == kind:
                param.weight_filler.type = filler
    return net


def random_weights(prototxt: str, out: str, seed: int = 1) -> None:
    """Write the weights to which the fillers of a prototxt initialise the net."""
    caffe.set_random_seed(seed)
    surgery.save(caffe.Net(prototxt, caffe.TEST), out)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `run`."""
    parser = arguments.Parser(
        prog="python -m solvers.chain",
        description="Train all stages up to a variant, after its data, base weights and surgery. "
        "What is finished is skipped.",
        parents=[
            arguments.variant(list(net_gen.VARIANTS)),
            arguments.data(list(DATA_SETS), None),
            arguments.iters(),
            arguments.images(),
            arguments.gpu(),
        ],
    )
    run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    command.run(main)
