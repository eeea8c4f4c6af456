"""The check of a data set before training: every file, and the set as a whole."""

from __future__ import annotations

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fcn_common import command
from fcn_common.progress import track
from fcn_common.tables import plain

from .channel_lists import is_channel_list
from .folders import Folder
from .label_coding import BORDER, Colour, LabelCoding, colour_counts, stored_labels
from .readers import COLOURS, count_channels, is_wide, orientation, read_channels

#: Files that a finding names before it counts the others.
LISTED = 5
#: Colours that a set of labels can have, to be proposed as a palette.
MOST_COLOURS = 256


class Finding(NamedTuple):
    """Something that the check found. level: "error" stops training, "warning" or "note" do not.

    files: the files that the finding is about, relative to the set's folder; () for the set.
    """

    level: str
    text: str
    files: Tuple[str, ...] = ()

    def __str__(self) -> str:
        names = ", ".join(self.files[:LISTED])
        rest = f" and {len(self.files) - LISTED} more" if len(self.files) > LISTED else ""
        return f"{self.level}: {self.text}{': ' if names else ''}{names}{rest}"


class FileFacts(NamedTuple):
    """What the check reads in a picture and its label.

    size: height and width, upright. sums: of the values of each channel. digest: of the pixels.
    counts: label -> pixels. colours: the colours of a colour-coded label without a palette.
    palette: the colours of a palette file. problem: why the pair cannot be used, or "".
    """

    size: Tuple[int, int] = (0, 0)
    channels: int = 0
    turn: int = 1
    wide: bool = False
    sums: Tuple[float, ...] = ()
    digest: str = ""
    counts: Mapping[int, int] = {}
    colours: Mapping[Colour, int] = {}
    palette: Tuple[Colour, ...] = ()
    problem: str = ""


class Report(NamedTuple):
    """The result of a check.

    findings: the worst first. channels: of the pictures, as they will be read. mean: of the
    training pictures, a value for each channel. largest: height and width of the largest picture.
    pixels: the mean number of pixels of a training picture. counts: pixels of each class.
    labels: the highest label that is not ignored, plus one. palette: the proposed palette of
    colour-coded labels without one. train_counts: pixels of each class in the training pictures.
    extent: class -> counted pixels of the training pictures in which it occurs. colours: the
    palette that all label files have, or ().
    """

    findings: Tuple[Finding, ...]
    channels: int
    mean: Tuple[float, ...]
    largest: Tuple[int, int]
    pixels: float
    counts: Mapping[int, int]
    labels: int
    palette: Tuple[Colour, ...] = ()
    train_counts: Mapping[int, int] = {}
    extent: Mapping[int, int] = {}
    colours: Tuple[Colour, ...] = ()

    @property
    def errors(self) -> List[Finding]:
        """The findings that stop training."""
        return [finding for finding in self.findings if finding.level == "error"]

    def lines(self, classes: Sequence[str]) -> List[str]:
        """Return the report as lines of text: the findings, then the share of each class."""
        total = max(sum(self.counts.values()), 1)
        rows = [
            (k, classes[k] if k < len(classes) else "-", f"{100 * n / total:.2f}")
            for k, n in sorted(self.counts.items())
        ]
        table = plain(("label", "class", "% of pixels"), rows) if rows else []
        return [*(command.printable(str(finding)) for finding in self.findings), *table]


def check(
    folder: Folder,
    coding: LabelCoding,
    channels: Optional[int] = None,
    title: str = "checking",
    skips: bool = False,
) -> Report:
    """Return what is wrong in a data set, after reading all of its files in several threads.

    folder: with the splits train and val. coding: how labels are read. channels: of the pictures;
    None is 3, or the number that all files have if 3 cannot be read from them. skips: pictures that
    cannot be used are skipped in training, and so are warnings, not errors.
    """
    ids = sorted(folder.files)
    channels = channels or _channels([folder.files[idx][0] for idx in ids])
    count = channels

    def inspect(idx: str) -> FileFacts:
        return inspect_pair(*folder.files[idx], coding, count)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        results = list(track(pool.map(inspect, ids), len(ids), f"{title} {folder.path}"))
    facts = dict(zip(ids, results))
    counts, _ = _pixels(results, coding.ignore_label)
    split = [facts[idx] for idx in folder.splits["train"]]
    train_counts, extent = _pixels(split, coding.ignore_label)
    train = [facts[idx] for idx in folder.splits["train"] if facts[idx].sums]
    area = [fact.size[0] * fact.size[1] for fact in train]
    mean = np.sum([fact.sums for fact in train], axis=0) / max(sum(area), 1)
    readable = [fact for fact in results if fact.sums]
    sizes = [fact.size for fact in readable] or [(0, 0)]
    palette = _proposed(results)
    findings = [
        *_file_findings(folder, facts, "warning" if skips else "error"),
        *_label_findings(folder, facts, coding, counts),
        *_set_findings(folder, facts, counts, channels),
    ]
    findings += _palette_findings(results, palette)
    order = ("error", "warning", "note")
    return Report(
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.level))),
        channels=channels,
        mean=tuple(round(float(value), 3) for value in np.atleast_1d(mean)),
        largest=(max(h for h, _ in sizes), max(w for _, w in sizes)),
        pixels=sum(area) / max(len(area), 1),
        counts=counts,
        labels=max(counts, default=-1) + 1,
        palette=palette,
        train_counts=train_counts,
        extent=extent,
        colours=_colours(results),
    )


def inspect_pair(image: str, label: str, coding: LabelCoding, channels: int) -> FileFacts:
    """Return what the check reads in a picture and its label. Problems are part of the result."""
    facts = FileFacts()
    try:
        pixels = read_channels(image, channels)
        sums = tuple(float(v) for v in pixels.sum(axis=(0, 1), dtype=np.float64))
        facts = facts._replace(
            size=pixels.shape[:2],
            channels=count_channels(image),
            turn=orientation(image),
            wide=pixels.dtype != np.uint8 and is_wide(image),
            sums=sums,
            digest=hashlib.sha1(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        )
        return _with_label(facts, label, coding)
    except (OSError, ValueError) as error:
        return facts._replace(problem=str(error))


def _with_label(facts: FileFacts, path: str, coding: LabelCoding) -> FileFacts:
    pixels, palette = stored_labels(path)
    if palette is not None:
        facts = facts._replace(palette=tuple((int(r), int(g), int(b)) for r, g, b in palette))
    try:
        labels = coding.decode(path, pixels, palette)
    except ValueError as error:
        colours = colour_counts(pixels) if pixels.ndim == 3 and coding.colours is None else {}
        return facts._replace(problem=str(error), colours=colours)
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        shape, kind = labels.shape, labels.dtype
        return facts._replace(
            problem=f"{path}: has shape {shape} and type {kind}, needs one class index a pixel"
        )
    if labels.shape != facts.size:
        (height, width), (rows, columns) = labels.shape, facts.size
        reason = ""
        if labels.shape == facts.size[::-1] and facts.turn > 4:
            reason = "; it was drawn on the picture before its EXIF orientation was applied"
        return facts._replace(
            problem=f"{path}: is {height} x {width} (height x width), needs its picture's "
            f"{rows} x {columns}{reason}"
        )
    values, counts = np.unique(labels, return_counts=True)
    return facts._replace(counts={int(v): int(n) for v, n in zip(values, counts)})


def _pixels(facts: Sequence[FileFacts], ignore_label: int) -> Tuple[Dict[int, int], Dict[int, int]]:
    """Return the pixels of each label, and the counted pixels of the pictures that have it."""
    counts: Dict[int, int] = {}
    extent: Dict[int, int] = {}
    for fact in facts:
        present = {label: n for label, n in fact.counts.items() if label != ignore_label}
        for label, pixels in present.items():
            counts[label] = counts.get(label, 0) + pixels
            extent[label] = extent.get(label, 0) + sum(present.values())
    return counts, extent


def _colours(facts: Sequence[FileFacts]) -> Tuple[Colour, ...]:
    """Return the palette that all label files have; () if they have several or none."""
    palettes = {fact.palette for fact in facts}
    return palettes.pop() if len(palettes) == 1 else ()


def _channels(paths: Sequence[str]) -> int:
    """Return the number of channels to read: 3, unless all files have the same number of more than
    4 channels, or are channel lists."""
    counts = set()
    for path in paths:
        try:
            counts.add(count_channels(path))
        except (OSError, ValueError):
            continue  # The check of the file names the reason.
    if len(counts) == 1 and (max(counts) > COLOURS + 1 or all(map(is_channel_list, paths))):
        return max(counts)
    return COLOURS


def _file_findings(folder: Folder, facts: Mapping[str, FileFacts], level: str) -> List[Finding]:
    """Return the findings about single files. level: of those about unusable files."""
    findings = _problems(folder, facts, level)
    turned = [idx for idx, fact in facts.items() if fact.turn != 1]
    wide = [idx for idx, fact in facts.items() if fact.wide]
    if turned:
        text = f"the EXIF orientation of {_pictures(len(turned))} is applied"
        findings.append(Finding("note", text, _names(folder, turned)))
    if wide:
        text = f"values of 16 bits or floats of {_pictures(len(wide))} are scaled to 0..255"
        findings.append(Finding("note", text, _names(folder, wide)))
    if folder.unlabelled:
        files = tuple(os.path.relpath(path, folder.path) for path in folder.unlabelled)
        text = (
            f"{_pictures(len(files))} without a label {'is' if len(files) == 1 else 'are'} left out"
        )
        findings.append(Finding("warning", text, files))
    return findings


def _problems(folder: Folder, facts: Mapping[str, FileFacts], level: str) -> List[Finding]:
    """Return a finding for each problem; files with the same problem are one finding."""
    files: Dict[str, List[str]] = {}
    for idx, fact in facts.items():
        if fact.problem:
            begins = [path for path in folder.files[idx] if fact.problem.startswith(path + ": ")]
            path = begins[0] if begins else ""
            text = fact.problem[len(path) + 2 :] if path else fact.problem
            files.setdefault(text, []).append(path)
    findings = []
    for text, paths in files.items():
        if len(paths) == 1:
            findings.append(Finding(level, f"{paths[0]}: {text}" if paths[0] else text))
        else:
            names = tuple(os.path.relpath(path, folder.path) for path in paths)
            findings.append(Finding(level, f"{len(paths)} files: each {text}", names))
    return findings


def _label_findings(
    folder: Folder,
    facts: Mapping[str, FileFacts],
    coding: LabelCoding,
    counts: Mapping[int, int],
) -> List[Finding]:
    """Return the findings about the labels' values, with the likely reason."""
    classes = len(folder.classes) or max(counts, default=-1) + 1
    present = sorted(counts)
    reason = _reason(present, classes, coding, facts)
    outside = [k for k in present if not 0 <= k < classes]
    findings = []
    if outside:
        ids = [idx for idx, fact in facts.items() if set(fact.counts) & set(outside)]
        text = f"the labels have the values {_few(outside)}, need {_range(classes)} or "
        text += f"{coding.ignore_label} (ignored)"
        reason = reason or "; correct the files, or name all classes (class_names.txt, --classes)"
        findings.append(Finding("error", text + reason, _names(folder, ids, 1)))
    elif reason and present:
        level = "error" if classes < 2 else "warning"
        findings.append(Finding(level, f"the only label values are {_few(present)}{reason}"))
    elif classes < 2 and present:
        text = f"there is {classes} class, needs 2 or more; the background is a class, too"
        findings.append(Finding("error", text))
    if coding.colours is not None and len(coding.colours) != classes:
        text = f"{classes} classes are named, but the labelmap has {len(coding.colours)} colours"
        findings.append(Finding("error", text))
    if classes > coding.ignore_label >= 0:
        text = f"{classes} classes, but label {coding.ignore_label} is ignored"
        findings.append(Finding("error", text))
    absent = [k for k in range(classes) if k not in counts]
    if absent and present and not outside:
        names = [folder.classes[k] if folder.classes else str(k) for k in absent]
        findings.append(Finding("warning", f"classes that never occur: {_few(names)}"))
    if not folder.classes and present:
        text = "no file such as class_names.txt names the classes; they are called by number"
        findings.append(Finding("note", text))
    return findings


def _reason(
    present: Sequence[int], classes: int, coding: LabelCoding, facts: Mapping[str, FileFacts]
) -> str:
    """Return the likely reason for wrong labels, to append to a finding; "" if none is known."""
    masks = [f for f in facts.values() if set(f.counts) == {0, 255}]
    if masks and set(present) <= {0, 255} and not coding.masks and 1 not in present:
        return "; the files look like masks of 0 and 255: use --masks"
    if not present:
        return ""
    step = math.gcd(*present) if len(present) > 1 else 0
    if step > 1 and len(present) > 1 and present[0] == 0:
        values = ",".join(str(k * step) for k in range(present[-1] // step + 1))
        return (
            f"; all are multiples of {step}: divide them by {step}, or use --label-values {values}"
        )
    if present[0] == 0 and present[-1] == classes:
        return f"; label 0 is a class, too: name {classes + 1} classes, the background first"
    if present[0] == 1 and present[-1] <= max(classes, len(present)):
        values = ",".join(map(str, range(1, present[-1] + 1)))
        return f"; they seem to count from 1: subtract 1, or use --label-values {values}"
    return ""


def _set_findings(
    folder: Folder, facts: Mapping[str, FileFacts], counts: Mapping[int, int], channels: int
) -> List[Finding]:
    """Return the findings about the set: splits, duplicates, sizes, channels."""
    splits = folder.splits
    findings = []
    both = sorted(set(splits["train"]) & set(splits["val"]))
    digests = {facts[idx].digest: idx for idx in splits["train"] if facts[idx].digest}
    twins = [idx for idx in splits["val"] if facts[idx].digest in digests and idx not in both]
    if both:
        text = f"train and val share {_pictures(len(both))}, so scores are too high"
        findings.append(Finding("warning", text, _names(folder, both)))
    if twins:
        text = f"val has {_pictures(len(twins))} whose pixels equal those of a picture of train"
        findings.append(Finding("warning", text, _names(folder, twins)))
    stored = sorted({fact.channels for fact in facts.values() if fact.channels})
    if stored and stored != [channels]:
        text = f"channels of the pictures: {_few(stored)}; all are read as {channels} (--channels)"
        findings.append(Finding("note", text))
    sizes = sorted({fact.size for fact in facts.values() if fact.sums})
    if sizes:
        (low, high) = (f"{h} x {w}" for h, w in (sizes[0], sizes[-1]))
        text = f"sizes from {low} to {high}" if low != high else f"all are {low}"
        text = f"{_pictures(len(facts))} ({folder.layout}), {text} (height x width); "
        text += f"{len(splits['train'])} to train, {len(splits['val'])} to score"
        findings.append(Finding("note", text))
    if not counts and not any(fact.problem for fact in facts.values()):
        findings.append(Finding("error", "every pixel is ignored, so nothing can be learned"))
    return findings


def _proposed(results: Sequence[FileFacts]) -> Tuple[Colour, ...]:
    """Return the colours of labels without a palette, the most frequent first."""
    total: Dict[Colour, int] = {}
    for fact in results:
        for colour, pixels in fact.colours.items():
            total[colour] = total.get(colour, 0) + pixels
    total.pop(BORDER, None)
    ordered = sorted(total, key=lambda colour: (colour != (0, 0, 0), -total[colour]))
    return tuple(ordered) if len(ordered) <= MOST_COLOURS else ()


def _palette_findings(results: Sequence[FileFacts], palette: Sequence[Colour]) -> List[Finding]:
    """Return a finding about the colours of labels without a palette, if there are any."""
    count = len({colour for fact in results for colour in fact.colours})
    if count and not palette:
        text = f"the labels have {count} colours, as smoothed or resized ones or JPEG files have; "
        text += "export them again, with a colour for each class"
        return [Finding("note", text)]
    if not palette:
        return []
    lines = [f"class {k}:{c[0]},{c[1]},{c[2]}" for k, c in enumerate(palette)]
    text = "proposed labelmap.txt, with names to be changed (--propose labelmap.txt writes it): "
    return [Finding("note", text + "  ".join(lines))]


def _names(folder: Folder, ids: Sequence[str], index: int = 0) -> Tuple[str, ...]:
    return tuple(os.path.relpath(folder.files[idx][index], folder.path) for idx in ids)


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _range(classes: int) -> str:
    return f"0 to {classes - 1}" if classes > 1 else "0"


def _few(values: Sequence[Any]) -> str:
    text = ", ".join(map(str, values[:LISTED]))
    return text + (f" .. {values[-1]}" if len(values) > LISTED else "")
