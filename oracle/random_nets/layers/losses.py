"""Losses and Accuracy."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import math

from oracle.random_nets.draft import Draft, Shape
from oracle.random_nets.layers.utility import drop_axis


def loss_param(d: Draft, classes: int, normalize: bool = True) -> str:
    """Return a LossParameter, or nothing; normalize: the field `normalize` may be set."""
    fields = []
    if d.chance(0.4):
        fields.append("ignore_label: %d" % d.random.choice((0, classes - 1, 255, -1)))
    if d.chance(0.5):
        normalization = d.random.choice(("FULL", "VALID", "BATCH_SIZE", "NONE"))
        fields.append("normalization: %s" % normalization)
    elif normalize and d.chance(0.3):
        fields.append("normalize: %s" % d.flag())
    return "loss_param { %s } " % " ".join(fields) if fields else ""


def add_labels(d: Draft, shape: Shape, axis: int, fields: str = "") -> str:
    """Add an input of labels for scores of `shape` with the classes along `axis`.

    fields: the loss's fields, with the label that the loss ignores.
    """
    label_shape = drop_axis(shape, axis)
    if len(shape) == 4 and axis == 1 and d.chance(0.5):
        label_shape = (shape[0], 1, *shape[2:])
    kind = "label %d" % shape[axis] + (" 255" if "ignore_label: 255" in fields else "")
    return d.input(label_shape or (1,), kind, "label")


def SoftmaxWithLoss(d: Draft) -> None:
    """Add a SoftmaxWithLoss."""
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, 0 if d.chance(0.03) else 1)
    fields = loss_param(d, shape[axis])
    label = add_labels(d, shape, axis, fields)
    fields += "softmax_param { %s }" % text
    d.add("SoftmaxWithLoss", [bottom, label], [()], fields, loss=True)


def InfogainLoss(d: Draft) -> None:
    """Add an InfogainLoss with its matrix as a bottom."""
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape, 0 if d.chance(0.03) else 1)
    fields = loss_param(d, shape[axis], normalize=False)
    label = add_labels(d, shape, axis, fields)
    matrix = d.input((1, 1, shape[axis], shape[axis]), "few 2", "matrix")
    fields += "infogain_loss_param { %s }" % text
    d.add("InfogainLoss", [bottom, label, matrix], [()], fields, loss=True)


def EuclideanLoss(d: Draft) -> None:
    """Add a EuclideanLoss."""
    bottom = d.pick(1, 2, 3, 4)
    shape = d.shapes[bottom]
    other = d.input(shape)
    d.add("EuclideanLoss", d.random.sample([bottom, other], 2), [()], loss=True)


def HingeLoss(d: Draft) -> None:
    """Add a HingeLoss of either norm."""
    bottom = d.pick(2, 3)
    shape = d.shapes[bottom]
    label = d.input((shape[0],), "label %d" % math.prod(shape[1:]), "label")
    fields = "hinge_loss_param { norm: L%s }" % d.number(1, 2)
    d.add("HingeLoss", [bottom, label], [()], fields, loss=True)


def MultinomialLogisticLoss(d: Draft) -> None:
    """Add a MultinomialLogisticLoss of positive values."""
    bottom = d.pick(2, 3, positive=True)
    shape = d.shapes[bottom]
    label = d.input((shape[0],), "label %d" % math.prod(shape[1:]), "label")
    d.add("MultinomialLogisticLoss", [bottom, label], [()], loss=True)


def SigmoidCrossEntropyLoss(d: Draft) -> None:
    """Add a SigmoidCrossEntropyLoss."""
    bottom = d.pick()
    shape = d.shapes[bottom]
    fields = loss_param(d, 2)
    target = d.input(shape, "label 2", "target")
    d.add("SigmoidCrossEntropyLoss", [bottom, target], [()], fields, loss=True)


def ContrastiveLoss(d: Draft) -> None:
    """Add a ContrastiveLoss of either version."""
    bottom = d.pick(2)
    shape = d.shapes[bottom]
    bottoms = [bottom, d.input(shape), d.input(shape[:1], "label 2", "similar")]
    fields = "contrastive_loss_param { margin: %s legacy_version: %s }"
    d.add("ContrastiveLoss", bottoms, [()], fields % (d.number(1, 3), d.flag(0.3)), loss=True)


def Accuracy(d: Draft) -> None:
    """Add an Accuracy, with or without the accuracy of each class."""
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    text += " top_k: %d" % d.size(1, shape[axis]) if d.chance(0.5) else ""
    ignore = " ignore_label: %d" % d.random.choice((0, 255)) if d.chance(0.3) else ""
    label = add_labels(d, shape, axis, ignore)
    tops = [(), (shape[axis],)] if d.chance(0.4) else [()]
    fields = "accuracy_param { %s } propagate_down: false propagate_down: false" % (text + ignore)
    d.add("Accuracy", [bottom, label], tops, fields, hidden=True, gradient=False)


MAKERS = (
    *(SoftmaxWithLoss, InfogainLoss, EuclideanLoss, HingeLoss, MultinomialLogisticLoss),
    *(SigmoidCrossEntropyLoss, ContrastiveLoss, Accuracy),
)
