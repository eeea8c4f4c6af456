"""The files of a variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Optional, Union

from .fcn import SPLITS, Variant, fcn
from .solver import solver
from .text import write


def generate(
    variant: Union[str, Variant],
    folder: Union[str, Path],
    solver_fields: Optional[Mapping[str, Any]] = None,
    **arguments: Any,
) -> List[Path]:
    """Writes train, val, deploy and solver.prototxt of a variant into `folder`; gives their paths.

    solver_fields: what differs from the published solver.
    arguments: what differs from the published nets, as `fcn` takes it.

    Raises ValueError, before anything is written, for arguments that make no net.
    """
    messages = {split: fcn(variant, split, **arguments) for split in SPLITS}
    messages["solver"] = solver(variant, **(solver_fields or {}))
    paths = []
    for name, message in messages.items():
        paths.append(Path(folder) / f"{name}.prototxt")
        write(message, paths[-1])
    return paths
