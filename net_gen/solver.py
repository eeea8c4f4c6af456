"""The published solvers."""

from __future__ import annotations

from typing import Any, Union

from caffe.proto import caffe_pb2

from .fcn import Variant, known

# High momentum and a batch of one image in place of batches (arXiv 1605.06211, section 4.3); the
# loss is summed over the pixels, hence the small learning rates. The program tests, not the solver.
PUBLISHED = {
    "train_net": "train.prototxt",
    "test_net": ["val.prototxt"],
    "test_iter": [736],
    "test_interval": 999999999,
    "test_initialization": False,
    "display": 20,
    "average_loss": 20,
    "lr_policy": "fixed",
    "momentum": 0.99,
    "weight_decay": 0.0005,
    "iter_size": 1,
    "max_iter": 100000,
    "snapshot": 4000,
    "snapshot_prefix": "snapshot/train",
}


def solver(variant: Union[str, Variant], **fields: Any) -> Any:
    """The SolverParameter of a variant; `fields` override the published ones, None drops one.

    Raises ValueError for an unknown variant or field, or a value that the field does not take.
    """
    what = known(variant)
    message = caffe_pb2.SolverParameter()
    fields_known = message.DESCRIPTOR.fields_by_name
    settings = {**PUBLISHED, "base_lr": what.base_lr, **what.solver, **fields}
    for name, value in settings.items():
        if value is None:
            continue
        if name not in fields_known:
            raise ValueError(f"solver field {name!r}: no such field in SolverParameter")
        try:
            if hasattr(getattr(message, name), "extend"):
                getattr(message, name).extend(value if isinstance(value, list) else [value])
            else:
                setattr(message, name, value)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"solver field {name} = {value!r}: {error}") from None
    return message
