"""net.py and solve.py of a variant's folder, from the texts in templates/."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Dict, List

from fcn_common.files import PathLike, write_text

from .solver import solver
from .trunks import CLASSIFIERS, TRUNKS
from .variants import VARIANTS, Variant, resolve_variant

TEMPLATES = Path(__file__).resolve().parent / "templates"
#: The programs of a folder; the text of NAME is templates/NAME.txt.
PROGRAMS = ("net.py", "solve.py")


def write_programs(name: str, folder: PathLike) -> List[Path]:
    """Write those of net.py and solve.py that `folder` lacks, and return their paths.

    name: a key of `VARIANTS`. A program that is there stays as it is.

    Raises ValueError for an unknown variant, OSError for a folder that cannot be written to.
    """
    resolve_variant(name)
    paths = [Path(folder) / program for program in PROGRAMS]
    missing = [path for path in paths if not path.exists()]
    for path in missing:
        write_text(path, program_text(name, path.name))
    return missing


def program_text(name: str, program: str) -> str:
    """Return the text of a program, one of `PROGRAMS`, of the variant `name`."""
    template = Template((TEMPLATES / f"{program}.txt").read_text(encoding="utf-8"))
    return template.substitute(description(name))


def description(name: str) -> Dict[str, str]:
    """Return the values of the templates' fields for the variant `name`."""
    variant, settings = VARIANTS[name], solver(name)
    trunk = TRUNKS[variant.trunk]
    images = settings.iter_size
    if variant.init is None:
        title = CLASSIFIERS[trunk.classifier].title
        start = f"{title}, trained to classify ILSVRC's thousand classes and cast into convolutions"
        weights = f"../ilsvrc-nets/{trunk.cast}"
    else:
        start, weights = f"the trained {VARIANTS[variant.init].title}", f"../{variant.init}"
    return {
        "name": name,
        "title": variant.title,
        "method": _method(variant),
        "start": start,
        "weights": weights,
        "iterations": f"{settings.max_iter:,}",
        "images": "one whole image" if images == 1 else f"{images} whole images",
        "momentum": f"{settings.momentum:g}",
        "rate": f"{settings.base_lr:g}",
        "loss": "averaged" if variant.normalize else "summed",
        "snapshot": f"{settings.snapshot:,}",
    }


def _method(variant: Variant) -> str:
    """Return what the head does, in a few words."""
    trunk = TRUNKS[variant.trunk]
    strides = [stride for stride in trunk.strides[1:] if stride >= variant.stride]
    names = [trunk.skips[stride].blob.split("/")[0] for stride in strides]
    if not names:
        return f"one prediction every {variant.stride} pixels"
    if len(names) == 1:
        skips = f"a skip from {names[0]}"
    else:
        skips = f"skips from {', '.join(names[:-1])} and {names[-1]}"
    return f"{skips}, trained in one stage" if variant.at_once else skips
