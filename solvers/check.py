"""Check a folder of pictures and labels before training: `python -m solvers.check my_set`."""

from __future__ import annotations

import argparse
import os
from typing import List, NamedTuple, Optional, Sequence, Tuple

from fcn_common import arguments, command
from fcn_common.files import write_text
from fcn_data.checking import Report, check
from fcn_data.folders import Folder, open_folder, read_names
from fcn_data.label_coding import WIDE_IGNORE_LABEL, Colour, LabelCoding, class_colours
from net_gen.arguments import check_integer

#: The number of classes above which label 255 is a class.
NARROW = 255


class CheckedSet(NamedTuple):
    """A folder with its splits, how its labels are read, and the report of the check."""

    folder: Folder
    coding: LabelCoding
    report: Report

    @property
    def classes(self) -> Tuple[str, ...]:
        """The class names: those of the folder, or numbers up to the highest label."""
        return self.folder.classes or tuple(f"class {k}" for k in range(self.report.labels))

    @property
    def palette(self) -> Tuple[Colour, ...]:
        """A colour for each class: those of the folder, of the label files, or VOC's."""
        count = len(self.classes)
        stored = self.report.colours[:count]
        named = self.folder.colours or (stored if len(set(stored)) == count else None)
        colours = class_colours(count, named)
        return tuple((int(r), int(g), int(b)) for r, g, b in colours)


def check_set(
    path: str,
    classes: Optional[str] = None,
    labelmap: Optional[str] = None,
    masks: bool = False,
    channels: Optional[int] = None,
    seed: int = 1,
    ignore_label: Optional[int] = None,
    label_values: Optional[str] = None,
    skips: bool = False,
) -> CheckedSet:
    """Check the data set in a folder.

    classes: names separated by commas, or a file with one name a line. labelmap: a file with
    lines of name:red,green,blue for colour-coded labels. masks: labels of 0 and 255 are two
    classes. channels: of the pictures. seed: of the splits that are drawn. ignore_label: the label
    that is not counted (255; 65535 for more than 255 classes). label_values: the stored value of
    each class, with commas, where label files hold other numbers than the class indices. skips:
    pictures that cannot be used are skipped in training, and cost a warning.

    Raises OSError for a folder that is missing, ValueError if no layout fits it.
    """
    if channels is not None:
        check_integer("channels", channels)
    folder = open_folder(path, class_names(classes), labelmap).with_splits(seed)
    if masks and len(folder.classes) < 2:  # A name alone is that of the foreground.
        folder = folder._replace(classes=("background", *(folder.classes or ("foreground",))))
    wide = len(folder.classes) > NARROW
    default = WIDE_IGNORE_LABEL if wide else LabelCoding().ignore_label
    ignored = default if ignore_label is None else ignore_label
    coding = LabelCoding(ignored, folder.colours, masks, _stored_values(label_values))
    report = check(folder, coding, channels, skips=skips)
    if ignore_label is None and not folder.classes and report.labels > NARROW + 1:
        # 16-bit labels without names: 255 is one of the classes.
        coding = coding._replace(ignore_label=WIDE_IGNORE_LABEL)
        report = check(folder, coding, channels, skips=skips)
    return CheckedSet(folder, coding, report)


def _stored_values(text: Optional[str]) -> Optional[Tuple[int, ...]]:
    """Return the numbers in a text with commas. Raises ValueError for anything else."""
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts) or len(set(parts)) != len(parts):
        raise ValueError(
            f"label values are {text!r}, need different whole numbers with commas, such as 0,60,120"
        )
    return tuple(map(int, parts))


def class_names(classes: Optional[str]) -> Tuple[str, ...]:
    """Return the names in a text with commas, or in a file with one name a line.

    Raises OSError for a file that is missing.
    """
    if not classes:
        return ()
    if os.path.isfile(classes):
        return read_names(classes)
    if classes.endswith((".txt", ".names")):
        raise FileNotFoundError(f"{classes}: no such file with class names (--classes)")
    return tuple(name.strip() for name in classes.split(","))


def set_arguments() -> List[argparse.ArgumentParser]:
    """Return the parents of the options that say what a data set is."""
    return [
        arguments.option("data", metavar="FOLDER", help="folder with pictures and labels"),
        arguments.option(
            "--classes",
            metavar="NAMES",
            help="class names separated by commas, or a file with one name a line "
            "(default: those in the folder)",
        ),
        arguments.option(
            "--labelmap",
            metavar="FILE",
            help="lines of name:red,green,blue, for colour-coded labels "
            "(default: labelmap.txt in the folder)",
        ),
        arguments.option("--masks", action="store_true", help="labels of 0 and 255 are 2 classes"),
        arguments.option(
            "--label-values",
            metavar="NUMBERS",
            help="stored value of each class, with commas, where labels are not 0, 1, 2, ...",
        ),
        arguments.option(
            "--channels", type=int, metavar="N", help="of the pictures: 1, 3, 4 or more"
        ),
        arguments.option(
            "--ignore-label", type=int, metavar="N", help="label that is not counted (default: 255)"
        ),
        arguments.seed(1, "splits, where the folder has none"),
    ]


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line. Raises ValueError if the check finds errors."""
    parser = arguments.Parser(
        prog="python -m solvers.check",
        description="Check a folder of pictures and labels, as every training does first.",
        parents=[
            *set_arguments(),
            arguments.option(
                "--propose", metavar="FILE", help="write the proposed labelmap.txt to FILE"
            ),
        ],
    )
    options = vars(parser.parse_args(argv))
    propose = options.pop("propose")
    checked = check_set(options.pop("data"), **options)
    print("\n".join(checked.report.lines(checked.classes)))
    if propose and checked.report.palette:
        rows = [f"class {k}:{c[0]},{c[1]},{c[2]}" for k, c in enumerate(checked.report.palette)]
        write_text(propose, "\n".join(rows) + "\n")
        print(f"wrote {propose}")
    elif propose:
        print(f"{propose}: is not written; a list is proposed where labels are colours without one")
    refuse_errors(checked)


def refuse_errors(checked: CheckedSet) -> None:
    """Raise ValueError if the check found errors."""
    count = len(checked.report.errors)
    if count:
        raise ValueError(
            f"{checked.folder.path}: the check found {count} error{'s' if count > 1 else ''}, "
            f"listed above; the first: {checked.report.errors[0].text}"
        )


if __name__ == "__main__":
    command.run(main)
