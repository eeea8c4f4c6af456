"""Random nets by number: two of three are valid by construction, the third is a changed one."""

from __future__ import annotations

from typing import Callable, Dict

from oracle.random_nets.changes import change_net
from oracle.random_nets.draft import Draft, Shape
from oracle.random_nets.layers import (
    activations,
    groups,
    losses,
    products,
    recurrent,
    utility,
    windows,
)

Maker = Callable[[Draft], object]


def by_name(*makers: Maker) -> Dict[str, Maker]:
    """Return the functions by their names, which are layer types."""
    return {maker.__name__: maker for maker in makers}


LAYERS = by_name(*activations.MAKERS, *windows.MAKERS, *products.MAKERS, *utility.MAKERS)
SEQUENCES_AND_LOSSES = by_name(*recurrent.MAKERS, *losses.MAKERS)
SINGLE_LAYERS = tuple({**LAYERS, **SEQUENCES_AND_LOSSES}.values())
#: Name -> function. A net's number determines the net, so the order has to stay.
MAKERS: Dict[str, Maker] = {
    **LAYERS,
    "Block": groups.add_block,
    "Excluded": lambda d: groups.add_excluded(d, SINGLE_LAYERS),
    **SEQUENCES_AND_LOSSES,
}
#: Drawn more often than the others, as in nets that people write.
USUAL = (
    "Block",
    "Convolution",
    "InnerProduct",
    "ReLU",
    "Pooling",
    "Eltwise",
    "Concat",
    "SoftmaxWithLoss",
)
#: These refuse to compute a gradient, and force_backward requires one, whatever propagate_down is.
NO_GRADIENT = ("Threshold", "ArgMax", "Accuracy", "Filter", "Embed", "BatchReindex", "InfogainLoss")


def valid_net(name: str) -> dict:
    """Return the valid net of this name, as oracle/run_nets.py reads nets."""
    d = Draft(name)
    d.input(d.shape(4 if d.chance(0.5) else None))
    makers = [*MAKERS, *USUAL, *USUAL]
    if d.force_backward:
        makers = [name for name in makers if name not in NO_GRADIENT or d.chance(0.03)]
    for _ in range(d.size(1, 9)):
        MAKERS[d.random.choice(makers)](d)
    return {
        "name": name,
        "text": "name: 'random'\n" + d.head + "".join(d.text),
        "inputs": d.inputs,
        "phase": d.phase,
        "rounds": d.random.choice(([{}], [{}], [{}, {}], [{}, other_shapes(d)])),
        "backward": d.chance(0.9),
        "args": {"level": d.level, "stages": d.stages},
        "ranges": [[d.random.random() for _ in range(3)] for _ in range(d.size(0, 2))],
    }


def other_shapes(d: Draft) -> Dict[str, Shape]:
    """Return new shapes for inputs: another batch, another image size, or one other length."""
    first = next(iter(d.all_inputs.values()))
    change, shapes = d.random.choice(("batch", "batch", "image", "image", "one")), {}
    step = d.random.choice((-1, 1, 2))
    chosen = d.random.choice(list(d.all_inputs))
    for blob, shape in d.all_inputs.items():
        sizes = list(shape)
        if change == "batch" and sizes[0] == first[0]:
            sizes[0] += step
        elif change == "image" and len(sizes) == 4:
            sizes[2:] = [n + step for n in sizes[2:]]
        elif change == "one" and blob == chosen:
            sizes[d.random.randrange(len(sizes))] += step
        shapes[blob] = tuple(max(1, n) for n in sizes)
    return {blob: shape for blob, shape in shapes.items() if shape != d.all_inputs[blob]}


def make_net(seed: int, i: int) -> dict:
    """Return net number `i` of a seed, as oracle/run_nets.py reads nets."""
    name = f"{seed}.{i}"
    net = valid_net(name)
    if i % 3 == 2:
        net = change_net(net)
    # BVLC Caffe's HingeLoss writes numbers that are no gradient into the blob's gradient in
    # forward (see oracle/deliberate.py), and a backward through a part of the net shows them.
    return {**net, "ranges": []} if "HingeLoss" in net["text"] else net
