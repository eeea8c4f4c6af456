"""A random net while it is written: its prototxt, and the shapes of the blobs in it."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import math
import random
from typing import Dict, List, Optional, Sequence, Set, Tuple

from oracle.cases.case import layer

Shape = Tuple[int, ...]

#: Stages that rules name; the net's own state may add the last one.
STAGES = ("a", "b", "c")
#: A net whose own state has the last stage.
OWN_STATE = "state { stage: 'c' level: 2 }\n"


class Draft:
    """A net while it is written. Layers are appended with `add`; `seed` determines every draw."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.text: List[str] = []
        #: Blob -> shape, of the blobs that a layer may read.
        self.shapes: Dict[str, Shape] = {}
        #: Input blob -> how its values are drawn, where they are not normally distributed.
        self.inputs: Dict[str, str] = {}
        #: Blobs that a backward pass reads after its layer's forward. A layer in place over such a
        #: blob would change the gradient that BVLC Caffe computes.
        self.protected: Set[str] = set()
        #: Blobs that some layer reads; Caffe refuses a layer in place over a blob with two readers.
        self.read_blobs: Set[str] = set()
        #: Tops of unrolled nets, which get no gradient where BVLC Caffe shares their memory.
        self.unrolled: Set[str] = set()
        #: Blobs that are never negative.
        self.positive: Set[str] = set()
        #: How many names have been given out.
        self.name_count = 0
        self.force_backward = self.chance(0.6)
        #: The state that the net is built for, which the rules of layers refer to.
        self.phase, self.level = self.size(0, 1), self.random.choice((0, 0, 1, 3))
        self.stages = [s for s in STAGES if self.chance(0.3)]
        #: Fields of the net itself.
        self.head = "force_backward: true\n" if self.force_backward else ""
        self.head += self.random.choice(("", "", "", OWN_STATE))
        #: Input blob -> shape, of all inputs.
        self.all_inputs: Dict[str, Shape] = {}
        #: Parameters with a name: (name, shape).
        self.named_params: List[Tuple[str, Shape]] = []

    # Draws

    def chance(self, p: float) -> bool:
        """Return True with probability `p`."""
        return self.random.random() < p

    def flag(self, p: float = 0.5) -> str:
        """Return "true" with probability `p`, else "false"."""
        return "true" if self.chance(p) else "false"

    def number(self, *values: float) -> str:
        """Return one of the values as text."""
        return "%g" % self.random.choice(values)

    def size(self, low: int = 1, high: int = 5) -> int:
        """Return an integer from `low` to `high`, both included."""
        return self.random.randint(low, high)

    def shape(self, axes: Optional[int] = None) -> Shape:
        """Return a small shape with this number of axes, or with a random number of them."""
        axes = axes or self.random.choice((1, 2, 2, 3, 4, 4, 4, 4, 5))
        return tuple(self.size(2 if i > 1 else 1, 7 if i > 1 else 4) for i in range(axes))

    def axis(self, shape: Sequence[int], low: int = 0) -> Tuple[int, str]:
        """Return an axis from `low` on, and its text, counted from the front or from the end."""
        axis = self.random.randrange(low, len(shape))
        return axis, "axis: %d" % (axis - len(shape) if self.chance(0.3) else axis)

    def name(self, prefix: str) -> str:
        """Return a name that nothing in the net has yet."""
        self.name_count += 1
        return "%s%d" % (prefix, self.name_count)

    # Blobs

    def input(self, shape: Shape, kind: str = "normal", prefix: str = "in") -> str:
        """Add an input blob and return its name.

        kind: how the values are drawn (see oracle.cases.case.draw). Other layers may read the blob
        only if the kind is `normal` or `positive`.
        """
        blob = self.name(prefix)
        dims = " ".join("dim: %d" % n for n in shape)
        if self.chance(0.06):
            self.head += "input: '%s' input_shape { %s }\n" % (blob, dims)
        else:
            self.text.append(layer("Input", "", blob, "input_param { shape { %s } }" % dims))
        self.all_inputs[blob] = shape
        if kind != "normal":
            self.inputs[blob] = kind
        if kind in ("normal", "positive"):
            self.shapes[blob] = shape
            self.positive |= {blob} if kind == "positive" else set()
        return blob

    def pick(self, *axes: int, positive: bool = False) -> str:
        """Return a blob with one of these numbers of axes (or any), which may be a new input."""
        candidates = [
            b
            for b, shape in self.shapes.items()
            if (len(shape) in axes or (not axes and shape)) and (b in self.positive or not positive)
        ]
        # Preferring the newest blobs makes nets deep.
        if candidates and self.chance(0.9):
            return self.random.choice(candidates[-3:] if self.chance(0.7) else candidates)
        return self.input(
            self.shape(self.random.choice(axes) if axes else None),
            "positive" if positive else "normal",
        )

    # Fields of layers

    def params(self, *shapes: Shape) -> str:
        """Return learning rates for some of a layer's parameters, or names to share them by."""
        if self.chance(0.25):
            specs: List[str] = []
            for shape in shapes:
                specs.append(self.param_name(shape, " ".join(specs)))
            return "".join(specs)
        if self.chance(0.8):
            return ""
        rates = [self.random.choice((0, 1, 2)) for _ in range(self.random.randint(1, len(shapes)))]
        return "".join("param { lr_mult: %d } " % rate for rate in rates)

    def param_name(self, shape: Shape, previous: str) -> str:
        """Return a `param` with the name of another layer's parameter if one fits, or a new name.

        previous: the text of the same layer's parameters before this one.
        """
        others = [pair for pair in self.named_params if "'%s'" % pair[0] not in previous]
        names = [name for name, other in others if other == shape]
        if names and self.chance(0.7):
            return "param { name: '%s' } " % self.random.choice(names)
        names = [name for name, other in others if math.prod(other) == math.prod(shape)]
        if names and self.chance(0.5):
            return "param { name: '%s' share_mode: PERMISSIVE } " % self.random.choice(names)
        if self.chance(0.3):
            return "param { } "
        name = self.name("w")
        self.named_params.append((name, shape))
        return "param { name: '%s' } " % name

    def rules(self, included: bool) -> str:
        """Return include or exclude rules by which the net's state includes the layer, or not."""
        while True:
            kind = self.random.choice(("include", "exclude"))
            rules = [self._rule() for _ in range(self.size(1, 2))]
            met = any(holds for _, holds in rules)
            if (met == (kind == "include")) == included:
                return "".join(" %s {%s }" % (kind, text) for text, _ in rules)

    def _rule(self) -> Tuple[str, bool]:
        """Return the text of a NetStateRule, and whether the net's state meets the rule."""
        stages = {*self.stages, *(["c"] if "stage: 'c'" in self.head else [])}
        text, holds = "", True
        if self.chance(0.4):
            phase = self.size(0, 1)
            text += " phase: %s" % ("TRAIN", "TEST")[phase]
            holds &= phase == self.phase
        for field, sign in (("min_level", 1), ("max_level", -1)):
            if self.chance(0.2):
                level = self.size(0, 3)
                text += " %s: %d" % (field, level)
                holds &= sign * (self.level - level) >= 0
        for stage in STAGES:
            if self.chance(0.25):
                present = self.chance(0.5)
                text += " %s: '%s'" % ("stage" if present else "not_stage", stage)
                holds &= present == (stage in stages)
        return text, holds

    # Layers

    def add(
        self,
        type_: str,
        bottoms: Sequence[str],
        shapes: Sequence[Shape],
        fields: str = "",
        in_place: float = 0,
        protected: bool = False,
        chained: bool = False,
        positive: bool = False,
        loss: bool = False,
        hidden: bool = False,
        gradient: bool = True,
    ) -> List[str]:
        """Append a layer and return the names of its tops.

        shapes: one for each top. fields: the rest of the layer's text. in_place: the probability
        that the layer writes over its first bottom, where this is allowed. protected: the layer's
        backward reads its tops. chained: another layer may run in place over this one if this one
        runs in place. hidden: no other layer reads the tops. gradient: a loss weight on the layer
        makes sense.
        """
        tops = [self.name("loss" if loss else "b") for _ in shapes]
        if in_place and self.chance(in_place) and self._can_overwrite(bottoms):
            tops = [bottoms[0]]
        fields += self._weights_and_gradients(len(bottoms), len(tops), loss, gradient)
        fields += self.rules(True) if self.chance(0.06) else ""
        name = self.name(type_.lower())
        self.text.append(layer(type_, " ".join(bottoms), " ".join(tops), fields, name))
        if tops[:1] != list(bottoms[:1]):
            self.read_blobs |= set(bottoms)
        for top, shape in zip(tops, shapes):
            self.positive.discard(top)
            if not hidden and not loss:
                self.shapes.pop(top, None)
                self.shapes[top] = tuple(shape)
            if positive:
                self.positive.add(top)
            if protected or (tops[0] in bottoms and not chained):
                self.protected.add(top)
        return tops

    def _can_overwrite(self, bottoms: Sequence[str]) -> bool:
        blob = bottoms[0]
        return blob not in self.protected | self.read_blobs and blob not in bottoms[1:]

    def _weights_and_gradients(self, bottoms: int, tops: int, loss: bool, gradient: bool) -> str:
        """Return the loss_weight and propagate_down fields of a layer."""
        text = ""
        if gradient and tops == 1 and (self.chance(0.3) if loss else self.chance(0.06)):
            text += " loss_weight: %s" % self.random.choice((1, 0.5, 3, -0.7, 0))
        elif gradient and tops > 1 and self.chance(0.06):
            weights = [self.random.choice((1, 0, -0.5)) for _ in range(tops)]
            text += "".join(" loss_weight: %s" % weight for weight in weights)
        if bottoms and self.chance(0.06) and gradient and not loss:
            text += "".join(" propagate_down: %s" % self.flag() for _ in range(bottoms))
        elif loss and self.chance(0.06):
            text += " propagate_down: %s" % self.flag()
            text += " propagate_down: false" * (bottoms - 1)
        return text
