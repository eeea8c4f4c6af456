"""Likely mistakes in a net, as findings about one layer each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from ..layers.windows import Window
from .build import LABELLED, BuiltNet, Part, build
from .costs import filler_of
from .gradients import Gradients, is_loss, learns
from .inputs import Inputs
from .places import MERGING, Places, layer_window, places
from .report import Report, crop_needs
from .sizes import LONGEST_PERIOD, EmptyBlobError, MisfitError, SizeRules, with_pad

#: Height and width that stand in for an unknown size where places are compared.
ASSUMED_SIZE = (384, 512)
#: Types whose bottoms need to fit to each other.
COMPARING = (*MERGING, *LABELLED, "Crop")
#: Sizes that a message lists.
LISTED = 4


class Finding(NamedTuple):
    """A likely mistake: its kind, the name of the layer, and one sentence."""

    kind: str
    layer: str
    message: str


def find_problems(report: Report) -> list[Finding]:
    """Return the findings about a net, in the order of its layers where they have one."""
    net, located = report.net, report.places
    if any(top.shape is None for part in net.sources() for top in part.tops):
        net = build(report.param, Inputs(ASSUMED_SIZE))
        located = places(net)
    problems = [
        *_same_names(net),
        *_crops(net, located),
        *_misaligned_sums(net, located),
        *_idle_deconvolutions(net),
        *_lost_gradients(net),
        *_unread_blobs(net),
        *_sizes(net, located),
    ]
    order = {part.name: part.number for part in reversed(net.parts)}
    return sorted(problems, key=lambda finding: order.get(finding.layer, 0))


def _same_names(net: BuiltNet) -> Iterator[Finding]:
    for name, count in Counter(part.name for part in net.parts).items():
        if count > 1:
            yield Finding(
                "same-name",
                name,
                f"{count} layers have this name; weights are found by name and reach one of them",
            )


def _crops(net: BuiltNet, located: Places) -> Iterator[Finding]:
    for part in net.parts:
        needed = crop_needs(part, located) if part.type == "Crop" else []
        if not needed:
            continue
        shown = "x".join(str(n) for n in dict.fromkeys(needed))
        offsets = list(part.param.crop_param.offset)
        axes = needed[max(0, part.param.crop_param.axis - 2) :]
        names = f"{part.bottoms[0].name} to {part.bottoms[1].name}"
        if None in axes:
            yield Finding(
                "crop-scale", part.name, f"{names}: the strides differ, so that no offset aligns"
            )
        elif any(n != int(n) or n < 0 for n in axes if n is not None):
            yield Finding(
                "crop-impossible",
                part.name,
                f"{names}: the coordinate maps need offset {shown}; an integer from 0 on is "
                "needed, change the padding before",
            )
        elif not offsets and any(axes):
            yield Finding(
                "crop-at-0",
                part.name,
                f"names no offset and cuts {names} at 0; the coordinate maps need {shown}; "
                "--fix-crops writes it",
            )
        elif offsets and _wrong_offset(part, located, axes):
            yield Finding(
                "crop-offset",
                part.name,
                f"cuts {names} at {'x'.join(map(str, offsets))}; the coordinate maps need {shown}",
            )


def _wrong_offset(part: Part, located: Places, needed: list[Fraction | None]) -> bool:
    offsets = list(part.param.crop_param.offset)[-len(needed) :]
    return (offsets * len(needed) if len(offsets) == 1 else offsets) != needed


def _misaligned_sums(net: BuiltNet, located: Places) -> Iterator[Finding]:
    for part in net.parts:
        placed = all(bottom in located for bottom in part.bottoms)
        if part.type not in MERGING or not part.bottoms or not placed:
            continue
        first = located[part.bottoms[0]]
        for blob in part.bottoms[1:]:
            other = located[blob]
            if other.frame != first.frame or len(other.axes) != len(first.axes):
                continue
            a, b = first.axes[0], other.axes[0]
            if (a.scale, a.shift) != (b.scale, b.shift):
                yield Finding(
                    "misaligned",
                    part.name,
                    f"value 0 of {part.bottoms[0].name} lies at pixel {a.first} (stride "
                    f"{a.stride}), that of {blob.name} at {b.first} (stride {b.stride})",
                )


def _idle_deconvolutions(net: BuiltNet) -> Iterator[Finding]:
    for part in net.parts:
        specs = part.param.param
        if part.type != "Deconvolution" or not specs or specs[0].lr_mult:
            continue
        filler = filler_of(part.param, 0)
        if filler is None or (filler.type == "constant" and not filler.value):
            yield Finding(
                "idle-deconvolution",
                part.name,
                "neither learns (lr_mult 0) nor has a filler: its top is 0 unless its weights are "
                'loaded or set; weight_filler { type: "bilinear" } interpolates',
            )


def _lost_gradients(net: BuiltNet) -> Iterator[Finding]:
    gradients = Gradients(net)
    if not gradients.losses:
        return
    for part in net.parts:
        if learns(part) and not gradients.reaches(part):
            yield Finding("no-gradient", part.name, "learns, but no loss depends on its tops")
        elif is_loss(part) and not any(b in gradients.needing for b in part.bottoms):
            yield Finding("no-gradient", part.name, "is a loss, but no layer below it learns")


def _unread_blobs(net: BuiltNet) -> Iterator[Finding]:
    has_loss = any(is_loss(part) for part in net.parts)
    for part in net.parts:
        # The outputs of a net without a loss are its results.
        if part.type == "Accuracy" or is_loss(part) or (part.bottoms and not has_loss):
            continue
        for top in part.tops:
            if not [n for n in top.readers if n not in top.writers] and _last_writer(part, top):
                yield Finding("unread", part.name, f"no layer reads its top {top.name!r}")


def _last_writer(part: Part, top: Any) -> bool:
    """Return whether the layer is the last that makes or changes the blob."""
    return part.number == max([top.producer, *top.writers])


def _sizes(net: BuiltNet, located: Places) -> Iterator[Finding]:
    """The findings about every size of the image, for a net that takes every size."""
    if any(_takes_one_size(part) for part in net.parts):
        return
    rules = SizeRules(net, located)
    smallest = rules.smallest() if located else None
    if smallest is None or rules.period > LONGEST_PERIOD:
        return
    misfits = list(_misfits(rules, smallest))
    yield from misfits
    yield from _off_image(rules, smallest)
    if not misfits:
        yield from _paddings(rules, smallest)


def _takes_one_size(part: Part) -> bool:
    """Return whether a layer ties the net to one size, or is not built and cannot tell.

    A Crop, a sum or a loss that does not fit at the present size may fit at others.
    """
    if part.type in ("InnerProduct", "Reshape"):
        return True
    return bool(part.bottoms) and part.layer is None and part.type not in COMPARING


def _misfits(rules: SizeRules, smallest: int) -> Iterator[Finding]:
    """The first layer at which blobs do not fit together, with the sizes of images."""
    sizes, first = [], None
    for size in range(smallest, smallest + rules.period):
        try:
            rules.sizes(size)
        except MisfitError as error:
            first = first or error
            sizes.append(size)
        except EmptyBlobError:
            sizes.append(size)
    if first is not None:
        yield Finding("sizes", first.part.name, f"{first}, {_which(sizes, rules.period)}")


def _which(sizes: list[int], period: int) -> str:
    """Words for the sizes of images, out of a period."""
    if len(sizes) == period:
        return f"with every image from {sizes[0]} pixels a side on"
    listed = ", ".join(map(str, sizes[:LISTED])) + (", ..." if len(sizes) > LISTED else "")
    return (
        f"with images of {listed} pixels a side ({len(sizes)} of {period} sizes, and every "
        f"{period} more)"
    )


def _off_image(rules: SizeRules, smallest: int) -> Iterator[Finding]:
    """The results with a value for each pixel that do not lie pixel on pixel with the image."""
    net, located = rules.net, rules.located
    for blob in net.blobs:
        part = net.parts[blob.producer]
        results = not blob.readers or any(is_loss(net.parts[n]) for n in blob.readers)
        place = located.get(blob)
        if place is None or not part.bottoms or not results or is_loss(part):
            continue
        if any(axis.scale != 1 for axis in place.axes):
            continue
        if any(axis.shift for axis in place.axes):
            yield Finding(
                "off-image",
                part.name,
                f"value 0 of {blob.name} lies at pixel {place.axes[0].first}; 0 is needed to lie "
                "on the image, Crop or another padding moves it",
            )
        sizes = [n for n in range(smallest, smallest + rules.period) if _differs(rules, blob, n)]
        if sizes:
            yield Finding(
                "off-image",
                part.name,
                f"{blob.name} has not the size of the image {_which(sizes, rules.period)}",
            )


def _differs(rules: SizeRules, blob: Any, size: int) -> bool:
    sizes = rules.sizes(size, checked=False).get(blob, ())
    return any(n != size for n in sizes)


def _paddings(rules: SizeRules, smallest: int) -> Iterator[Finding]:
    """The paddings of the image beyond half a kernel that a smaller one would replace."""
    net = rules.net
    for part in net.parts:
        if part.type != "Convolution" or not part.bottoms:
            continue
        window = layer_window(part, 2)
        reads_image = not net.parts[part.bottoms[0].producer].bottoms
        if window is None or not reads_image or len(set(window.pad)) > 1:
            continue
        least = _least_pad(rules, part, window, smallest)
        if least is not None:
            yield Finding(
                "padding",
                part.name,
                f"pad {window.pad[0]}: {least} is the least that keeps every size from {smallest} "
                "aligned, with other crop offsets and less work",
            )


def _least_pad(rules: SizeRules, part: Part, window: Window, smallest: int) -> int | None:
    """Return the least padding that serves as well as the present one; None if that is least."""
    half = window.reach[0] // 2
    if window.pad[0] <= half:
        return None
    zero, one = (_needed_offsets(rules.net, part, pad) for pad in (0, 1))
    for pad in range(half, window.pad[0]):
        # Offsets are linear in the padding.
        offsets = {
            crop: [a + (b - a) * pad for a, b in zip(zero[crop], one[crop])] for crop in zero
        }
        if any(n < 0 or n != int(n) for values in offsets.values() for n in values):
            continue
        changed = SizeRules(
            rules.net,
            rules.located,
            {part: pad},
            {crop: [int(n) for n in values] for crop, values in offsets.items()},
        )
        if changed.fits_from(smallest):
            return pad
    return None


def _needed_offsets(net: BuiltNet, convolution: Part, pad: int) -> dict[Part, list[Fraction]]:
    """Return the offsets that each Crop needs with this padding.

    Crops come one behind another: the place of a crop's top is that of its second bottom, because
    the offsets are those that the maps need.
    """
    changed = with_pad(net, convolution, pad)
    needed: dict[Part, list[Fraction]] = {}
    located = places(changed, aligned=True)
    for part in changed.parts:
        offsets = crop_needs(part, located) if part.type == "Crop" else []
        if offsets and None not in offsets:
            needed[part] = [n for n in offsets if n is not None]
    return needed
