"""Golden cases of small nets: gradients, losses, shared parameters, old formats, rules."""

from __future__ import annotations

import caffe

from oracle.cases.blocks import FCN, FCN_LOSS, conv, conv_relu, fc, pool
from oracle.cases.case import add, layer, net

SIZES = {"data": (1, 3, 24, 32), "label": (1, 1, 24, 32)}
OTHER_SIZES = {"data": (1, 3, 32, 24), "label": (1, 1, 32, 24)}

for _name, _force in (("train", False), ("train_force_backward", True)):
    add(
        "fcn." + _name,
        net(SIZES, FCN + FCN_LOSS, force_backward=_force),
        inputs={"label": "label 3 255"},
        rounds=({},) if _force else ({}, OTHER_SIZES),
    )
add("fcn.deploy", net({"data": (1, 3, 24, 32)}, FCN, force_backward=False), backward=False)

# A VGG-like classifier, with LRN and a grouped convolution as in AlexNet.
CLASSIFIER = (
    conv_relu("data", "conv1_1", 4)
    + conv_relu("conv1_1", "conv1_2", 4)
    + pool("conv1_2", "pool1")
    + layer("LRN", "pool1", "norm1", "lrn_param { local_size: 3 alpha: 0.5 }")
    + layer(
        "Convolution",
        "norm1",
        "conv2",
        "convolution_param { num_output: 6 kernel_size: 3 group: 2 }",
    )
    + layer("ReLU", "conv2", "conv2", name="relu2")
    + layer("Pooling", "conv2", "pool2", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    + fc("pool2", "fc6", 10)
    + layer("ReLU", "fc6", "fc6", name="relu6")
    + layer("Dropout", "fc6", "fc6", name="drop6")
    + fc("fc6", "fc7", 8)
    + layer("ReLU", "fc7", "fc7", name="relu7")
    + fc("fc7", "fc8", 5)
)
IMAGES = {"data": (3, 3, 12, 12)}
add(
    "classifier.deploy",
    net(IMAGES, CLASSIFIER + layer("Softmax", "fc8", "prob"), force_backward=False),
    backward=False,
    rounds=({}, {"data": (1, 3, 12, 12)}),
)
add("classifier.saliency", net(IMAGES, CLASSIFIER), rounds=({}, {"data": (2, 3, 12, 12)}))
add(
    "classifier.train_with_accuracy",
    net(
        dict(IMAGES, label=(3,)),
        CLASSIFIER
        + layer("SoftmaxWithLoss", "fc8 label", "loss")
        + layer("Accuracy", "fc8 label", "accuracy"),
        force_backward=False,
    ),
    inputs={"label": "label 5"},
)

# Which layers compute gradients
_SMALL = {"x": (2, 2, 5, 5), "label": (2,)}
add(
    "net.without_force_backward",
    net(
        _SMALL,
        conv("x", "c", 3) + fc("c", "f", 4) + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.nothing_learns_below",
    net(
        _SMALL,
        layer(
            "Convolution",
            "x",
            "c",
            "param { lr_mult: 0 } param { lr_mult: 0 }"
            " convolution_param { num_output: 3 kernel_size: 3 }",
        )
        + fc("c", "f", 4)
        + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_false",
    net(
        _SMALL,
        conv("x", "c", 3)
        + fc("c", "f", 4, "propagate_down: false")
        + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_false_on_one_branch",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4)
        + fc("f", "g", 4, "propagate_down: false")
        + fc("f", "h", 4)
        + layer("Eltwise", "g h", "s")
        + layer("SoftmaxWithLoss", "s label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.propagate_down_to_data",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4, "propagate_down: true")
        + layer("SoftmaxWithLoss", "f label", "loss", "propagate_down: true propagate_down: false"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.branch_without_loss",
    net(
        {"x": (2, 4), "label": (2,)},
        fc("x", "f", 4) + fc("f", "unused", 3) + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)

# Losses
add(
    "net.two_losses",
    net(
        {"x": (3, 4), "a": (3,), "b": (3,)},
        fc("x", "f", 4)
        + layer("SoftmaxWithLoss", "f a", "loss_a", "loss_weight: 0.3")
        + fc("f", "g", 5)
        + layer("SoftmaxWithLoss", "g b", "loss_b", "loss_weight: 2"),
        force_backward=False,
    ),
    inputs={"a": "label 4", "b": "label 5"},
)
add(
    "net.loss_weight_on_any_layer",
    net(
        {"x": (3, 4)},
        fc("x", "f", 4) + layer("ReLU", "f", "loss_r", "loss_weight: 0.25"),
        force_backward=False,
    ),
)
add(
    "net.loss_weight_inside",
    net(
        {"x": (3, 4), "label": (3,)},
        fc("x", "f", 4, "loss_weight: 0.1") + layer("SoftmaxWithLoss", "f label", "loss"),
        force_backward=False,
    ),
    inputs={"label": "label 4"},
)
add(
    "net.python_loss",
    net(
        {"x": (3, 4), "t": (3, 2)},
        fc("x", "f", 2)
        + layer(
            "Python",
            "f t",
            "loss",
            "loss_weight: 1 python_param { module: 'oracle.python_layers' layer: 'EuclideanLoss' }",
        ),
        force_backward=False,
    ),
)

# Parameters shared by name
add(
    "net.shared_params",
    net(
        {"a": (2, 3), "b": (2, 3)},
        fc("a", "f", 4, "param { name: 'w' } param { name: 'c' }")
        + fc("b", "g", 4, "param { name: 'w' } param { name: 'c' }")
        + layer("Eltwise", "f g", "y", "eltwise_param { operation: PROD }"),
    ),
)
add(
    "net.shared_weights_own_biases",
    net(
        {"a": (2, 3)},
        fc("a", "f", 3, "param { name: 'w' lr_mult: 2 }")
        + fc("f", "g", 3, "param { name: 'w' }")
        + fc("g", "y", 3, "param { name: 'w' }"),
    ),
)
add(
    "net.shared_permissive",
    net(
        {"a": (2, 6), "b": (2, 3)},
        fc("a", "f", 4, "param { name: 'w' }")
        + fc("b", "g", 8, "param { name: 'w' share_mode: PERMISSIVE }"),
    ),
)

# Old formats
add(
    "net.v1_layers",
    """
    name: 'old' force_backward: true
    input: 'data' input_dim: 2 input_dim: 3 input_dim: 6 input_dim: 6
    layers { name: 'conv' type: CONVOLUTION bottom: 'data' top: 'conv'
             blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
             convolution_param { num_output: 4 kernel_size: 3 } }
    layers { name: 'relu' type: RELU bottom: 'conv' top: 'conv' }
    layers { name: 'pool' type: POOLING bottom: 'conv' top: 'pool'
             pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
    layers { name: 'drop' type: DROPOUT bottom: 'pool' top: 'pool' }
    layers { name: 'fc' type: INNER_PRODUCT bottom: 'pool' top: 'fc'
             inner_product_param { num_output: 5 } }
    layers { name: 'prob' type: SOFTMAX bottom: 'fc' top: 'prob' }
    """,
)

# Phase, level and stage
_RULES = net(
    {"x": (2, 3)},
    fc("x", "train_only", 2, "include { phase: TRAIN }")
    + fc("x", "test_only", 3, "include { phase: TEST }")
    + fc("x", "not_in_train", 4, "exclude { phase: TRAIN }")
    + fc("x", "deploy_stage", 5, "include { stage: 'deploy' }")
    + fc("x", "not_deploy", 6, "include { not_stage: 'deploy' }")
    + fc("x", "deploy_and_small", 7, "include { stage: 'deploy' stage: 'small' }")
    + fc("x", "either", 8, "include { phase: TRAIN } include { stage: 'deploy' }")
    + fc("x", "level_one", 9, "include { min_level: 1 }")
    + fc("x", "level_at_most_one", 10, "include { max_level: 1 }"),
)
for _name, _phase, _args in (
    ("train", caffe.TRAIN, {}),
    ("test", caffe.TEST, {}),
    ("deploy", caffe.TEST, {"stages": ["deploy"]}),
    ("deploy_small", caffe.TRAIN, {"stages": ["small", "deploy"]}),
    ("level_two", caffe.TEST, {"level": 2}),
):
    add("net.rules_" + _name, _RULES, phase=_phase, net_args=_args)
