"""Nets and solvers of older forms, brought to the present one as BVLC Caffe does on reading.

    v0.py      layers { layer { type: "conv" ... } }
    v1.py      layers { type: CONVOLUTION ... }
    fields.py  fields that have moved since

The log says what BVLC Caffe's says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import glog
from . import fields, priors, v0, v1

__all__ = ["needs_upgrade", "solver_needs_upgrade", "upgrade_net", "upgrade_solver"]


class _Form(NamedTuple):
    """An old form. The log lines are (line of upgrade_proto.cpp, end of the message)."""

    #: Whether a message has the form.
    applies: Callable[[Any], bool]
    #: Change the message in place; return one line for each thing that had to be left out.
    upgrade: Callable[[Any], list[str]]
    attempt: tuple[int, str]
    success: tuple[int, str]
    note: tuple[int, str] | None = None


_FILE = "file specified using deprecated "

#: The forms of nets, oldest first; each is upgraded from what the one before it leaves.
_NET_FORMS = (
    _Form(
        v0.is_v0,
        v0.upgrade_v0,
        (28, f"input {_FILE}V0LayerParameter"),
        (36, f"{_FILE}V0LayerParameter"),
        (
            39,
            "not support V0NetParameter; use ./build/tools/upgrade_net_proto_text for prototxt "
            "and ./build/tools/upgrade_net_proto_binary for model weights upgrade this and any "
            "other net protos to the new format.",
        ),
    ),
    _Form(
        fields.has_old_transforms,
        fields.upgrade_transforms,
        (46, f"input {_FILE}transformation parameters"),
        (49, f"{_FILE}data transformation parameters."),
        (51, "only support transform_param messages for transformation fields."),
    ),
    _Form(
        v1.is_v1,
        v1.upgrade_v1,
        (55, f"input {_FILE}V1LayerParameter"),
        (63, f"{_FILE}V1LayerParameter"),
    ),
    _Form(
        fields.has_inputs,
        fields.upgrade_inputs,
        (69, f"input {_FILE}input fields"),
        (72, f"{_FILE}input fields."),
        (74, "only support input layers and not input fields."),
    ),
    _Form(
        fields.has_learned_batch_norms,
        fields.upgrade_batch_norms,
        (79, "batch norm layers using deprecated params"),
        (82, "batch norm layers using deprecated params."),
    ),
    _Form(
        fields.has_volume_settings,
        fields.upgrade_volume_settings,
        (85, "convolution3d_param and pooling3d_param"),
        (88, "convolution3d_param and pooling3d_param."),
    ),
    _Form(
        fields.has_fused_relus,
        fields.upgrade_fused_relus,
        (85, "layers that contain a ReLU"),
        (88, "layers that contain a ReLU."),
    ),
    _Form(
        priors.has_other_layouts,
        priors.upgrade_layouts,
        (85, "PriorBox layers of TextBoxes or FaceBoxes"),
        (88, "PriorBox layers of TextBoxes or FaceBoxes."),
    ),
)

_SOLVER_FORM = _Form(
    fields.has_solver_type,
    fields.upgrade_solver_type,
    (1084, f"input {_FILE}'solver_type' field (enum)'"),
    (1091, f"{_FILE}'solver_type' field (enum) to 'type' field (string)."),
    (1093, "only support 'type' field (string) for a solver's type."),
)


def needs_upgrade(net: Any) -> bool:
    """Return whether a NetParameter has anything of an older form."""
    return any(form.applies(net) for form in _NET_FORMS)


def upgrade_net(net: Any, path: str = "") -> list[str]:
    """Bring a NetParameter of an older form to the present one, in place.

    `path` is the file that the log names. Return one line for each thing that has no present form;
    BVLC Caffe leaves these out and continues. Raises NetError where BVLC Caffe ends the program.
    """
    problems: list[str] = []
    for form in _NET_FORMS:
        if form.applies(net):
            problems += _upgrade(form, net, path)
    return problems


def solver_needs_upgrade(solver: Any) -> bool:
    """Return whether a SolverParameter has anything of an older form."""
    return _SOLVER_FORM.applies(solver)


def upgrade_solver(solver: Any, path: str = "") -> None:
    """Bring a SolverParameter of an older form to the present one, in place.

    `path` is the file that the log names. Raises NetError if the solver has both `type` and the old
    `solver_type`.
    """
    if solver_needs_upgrade(solver):
        _upgrade(_SOLVER_FORM, solver, path)


def _upgrade(form: _Form, message: Any, path: str) -> list[str]:
    _log(form.attempt[0], f"Attempting to upgrade {form.attempt[1]}: {path}")
    problems = form.upgrade(message)
    for problem in problems:
        _log(237, problem, level=2)
    if problems:
        _log(
            33,
            "Warning: had one or more problems upgrading V0NetParameter to NetParameter (see "
            "above); continuing anyway.",
            level=2,
        )
    else:
        _log(form.success[0], f"Successfully upgraded {form.success[1]}")
    if form.note:
        _log(form.note[0], f"Note that future Caffe releases will {form.note[1]}", level=1)
    return problems


def _log(line: int, message: str, level: int = 0) -> None:
    glog.write(f"upgrade_proto.cpp:{line}", message, level)
