"""The published solvers."""

from __future__ import annotations

from typing import Any, Dict, Union

from caffe.proto import caffe_pb2

from .variants import Variant, resolve_variant

#: What the solvers of all variants share. High momentum and a batch of one image take the place of
#: batches (arXiv 1605.06211, section 4.3). The loss is summed over the pixels, which is why the
#: learning rates are small. The programs of `solvers` score the nets, not the solver's tests.
PUBLISHED: Dict[str, Any] = {
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
    """Return the SolverParameter of a variant.

    fields: values in place of the published ones; None clears a field.

    Raises ValueError for an unknown variant or field, and for a value of the wrong type.
    """
    variant = resolve_variant(variant)
    train, val = (variant.data.splits[split] for split in ("train", "val"))
    settings = {
        "train_net": f"{train.prototxt}.prototxt",
        "test_net": [f"{val.prototxt}.prototxt"],
        "test_iter": None if val.images is None else [val.images],
        **PUBLISHED,
        "base_lr": variant.base_lr,
        **variant.solver,
        **fields,
    }
    message = caffe_pb2.SolverParameter()
    for name, value in settings.items():
        if value is not None:
            _set_field(message, name, value)
    return message


def _set_field(message: Any, name: str, value: Any) -> None:
    if name not in message.DESCRIPTOR.fields_by_name:
        raise ValueError(f"solver field is {name!r}, needs a field of SolverParameter")
    try:
        if hasattr(getattr(message, name), "extend"):
            getattr(message, name).extend(value if isinstance(value, list) else [value])
        else:
            setattr(message, name, value)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"solver field {name} is {value!r}: {error}") from None
