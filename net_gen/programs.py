"""net.py and solve.py of a variant's folder, from the texts in templates/."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any, Dict, List, Mapping, Optional, Sequence

from fcn_common.files import PathLike, write_text

from .solver import solver
from .trunks import CLASSIFIERS, TRUNKS
from .variants import VARIANTS, Variant, resolve_variant

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = Path(__file__).resolve().parent / "templates"
#: The programs of a folder; the text of NAME is templates/NAME.txt.
PROGRAMS = ("net.py", "solve.py")


def write_programs(
    name: str, folder: PathLike, arguments: Optional[Mapping[str, Any]] = None
) -> List[Path]:
    """Write net.py and solve.py into `folder` where they are missing, and return the paths written.

    name: a key of `VARIANTS`. An existing program stays as it is. arguments: those with which
    `generate` wrote the prototxts of the folder; net.py writes the same prototxts again.

    Raises ValueError for an unknown variant, OSError for a folder that cannot be written to.
    """
    resolve_variant(name)
    paths = [Path(folder) / program for program in PROGRAMS]
    missing = [path for path in paths if not path.exists()]
    for path in missing:
        write_text(path, program_text(name, path.name, _repository_from(folder), arguments))
    return missing


def program_text(
    name: str,
    program: str,
    repository: str = "..",
    arguments: Optional[Mapping[str, Any]] = None,
) -> str:
    """Return the text of a program, one of `PROGRAMS`, of the variant `name`.

    repository: the path of the repository from the program's folder. arguments: as in
    `write_programs`.
    """
    template = Template((TEMPLATES / f"{program}.txt").read_text(encoding="utf-8"))
    return template.substitute(
        description(name, repository),
        arguments="".join(f", {key}={_python(v)}" for key, v in (arguments or {}).items()),
    )


def _repository_from(folder: PathLike) -> str:
    """Return the path of the repository from a folder; absolute if the folder lies outside."""
    place = Path(folder).resolve()
    if REPOSITORY in place.parents:
        return Path(os.path.relpath(REPOSITORY, place)).as_posix()
    return REPOSITORY.as_posix()


def _folder_expression(repository: str) -> str:
    """Return the Python expression of the repository's folder in a program."""
    if repository == "..":
        return "os.path.dirname(FOLDER)"
    return f"os.path.join(FOLDER, {json.dumps(repository, ensure_ascii=False)})"


def _python(value: Any) -> str:
    """Return the Python expression of an argument of `generate`."""
    return (
        f"{value.numerator} / {value.denominator}" if isinstance(value, Fraction) else repr(value)
    )


def description(name: str, repository: str = "..") -> Dict[str, str]:
    """Return the values of the templates' fields for the variant `name`.

    repository: the path of the repository from the folder of the programs.
    """
    variant, settings = VARIANTS[name], solver(name)
    images = settings.iter_size
    every, snapshot = variant.score_every, settings.snapshot or variant.score_every
    saved = "and a snapshot" if snapshot == every else f"with a snapshot after every {snapshot:,}"
    return {
        "name": name,
        "repository": _folder_expression(repository),
        "title": variant.title,
        "method": _method(variant),
        "start": _start(variant, repository),
        "iterations": f"{settings.max_iter:,}",
        "images": "one whole image" if images == 1 else f"{images} whole images",
        "momentum": f"{settings.momentum:g}",
        "rate": f"{settings.base_lr:g}",
        "loss": "averaged" if variant.normalize else "summed",
        "every": "" if settings.snapshot == every else str(every),
        "interval": f"{every:,} iterations {saved}",
        "split": variant.data.splits["val"].prototxt,
    }


def _start(variant: Variant, repository: str) -> str:
    """Return the lines of solve.py that copy the first weights, indented but for the first.

    repository: the path from which the classifiers' folder is named.
    """
    trunk, branch = TRUNKS[variant.trunk], variant.branches[0]
    if branch.init is not None:
        lines = [
            "# Each trunk has the weights of a trained net, whose layers have the same names",
            "# without the suffix of the trunk.",
        ]
        parents = ", ".join(f'"{each.suffix}": "../{each.init}"' for each in variant.branches)
        return _indented([*lines, f"stage.start_from_each({{{parents}}})"])
    if variant.init is None:
        title = CLASSIFIERS[trunk.classifier].title
        start = f"{title}, trained to classify ILSVRC's thousand classes and cast into convolutions"
        weights = f"{repository}/ilsvrc-nets/{trunk.cast}"
    else:
        start, weights = f"the trained {VARIANTS[variant.init].title}", f"../{variant.init}"
    lines = [
        "# Layers are copied by name, and new score layers start at zero. The weights are those of",
        f"# {start}.",
    ]
    renamed = ", ".join(f'"{old}": "{new}"' for old, new in branch.renamed.items())
    if not renamed:
        return _indented([*lines, f'stage.start_from("{weights}")'])
    lines.append(
        "# The renamed layer reads more channels; these get the mean of the others' weights."
    )
    return _indented([*lines, f'stage.start_from("{weights}", {{{renamed}}})'])


def _indented(lines: Sequence[str]) -> str:
    return "\n        ".join(lines)


def _method(variant: Variant) -> str:
    """Return what the head does, in a few words."""
    trunk = TRUNKS[variant.trunk]
    strides = [stride for stride in trunk.strides[1:] if stride >= variant.stride]
    names = [trunk.skips[stride].blob.split("/")[0] for stride in strides]
    if not names:
        return f"one prediction every {variant.stride} pixels" + _joined(variant)
    if len(names) == 1:
        skips = f"a skip from {names[0]}"
    else:
        skips = f"skips from {', '.join(names[:-1])} and {names[-1]}"
    skips += _joined(variant)
    return f"{skips}, trained in one stage" if variant.at_once else skips


def _joined(variant: Variant) -> str:
    """Return what a net with several heads, trunks or images does with them; "" for others."""
    if len(variant.heads) > 1:
        counts = [f"{len(labels.classes)} {labels.name}" for labels in variant.data.labels]
        return f", for {' and '.join(counts)} classes"
    if len(variant.branches) > 1:
        return f", the mean of {len(variant.branches)} trunks"
    return ", on joined images" if len(variant.images) > 1 else ""
