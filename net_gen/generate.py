"""The files of a variant's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional, Union

from fcn_common.files import PathLike

from .data import SPLITS
from .fcn import fcn
from .solver import solver
from .text import write
from .variants import Variant, resolve_variant


def generate(
    variant: Union[str, Variant],
    folder: PathLike,
    solver_fields: Optional[Mapping[str, Any]] = None,
    **arguments: Any,
) -> List[Path]:
    """Write the prototxts of a variant into `folder`: its three nets and its solver.

    solver_fields: values in place of the published ones, as `solver` takes them.
    arguments: those of `fcn`, in place of the published nets'.

    Returns the paths of the files. Raises ValueError, before anything is written, for arguments
    that make no net.
    """
    variant = resolve_variant(variant)
    messages = {prototxt_stem(variant, split): fcn(variant, split, **arguments) for split in SPLITS}
    messages["solver"] = solver(variant, **(solver_fields or {}))
    paths = []
    for stem, message in messages.items():
        paths.append(Path(folder) / f"{stem}.prototxt")
        write(message, paths[-1])
    return paths


def prototxt_stem(variant: Variant, split: str) -> str:
    """Return the name, without its suffix, of the prototxt of a split."""
    return split if split == "deploy" else variant.data.splits[split].prototxt
