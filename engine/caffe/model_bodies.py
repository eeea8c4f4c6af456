"""Convolutions with BatchNorm, and the bodies of VGG and ResNet, for SSD's scripts.

`model_libs` has the names that scripts import, and the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .net_spec import NetSpec
from .net_spec import layers as L
from .net_spec import params as P

_WEIGHT, _BIAS = dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)
_FROZEN = dict(lr_mult=0, decay_mult=0)


def UnpackVariable(var: Any, num: int) -> list[Any]:
    """Return a list of `num` values: `var` itself, or its one value `num` times."""
    values = list(var) if isinstance(var, (list, tuple)) else [var]
    if len(values) not in (1, num):
        raise ValueError(f"{var!r} has {len(values)} values; it needs 1 or {num}")
    return values if len(values) == num else values * num


def _window(kernel_size: Any, pad: Any, stride: Any) -> dict[str, int]:
    """Return the fields of a square window, or of one whose height and width differ."""
    fields = {}
    for name, value in (("kernel", kernel_size), ("pad", pad), ("stride", stride)):
        height, width = UnpackVariable(value, 2)
        if UnpackVariable(kernel_size, 2)[0] == UnpackVariable(kernel_size, 2)[1]:
            fields["kernel_size" if name == "kernel" else name] = height
        else:
            fields.update({f"{name}_h": height, f"{name}_w": width})
    return fields


def _same_pad(kernel_size: int, dilation: int) -> int:
    """Return the padding with which a convolution of stride 1 keeps the size."""
    return (kernel_size + (dilation - 1) * (kernel_size - 1) - 1) // 2


def ConvBNLayer(
    net: NetSpec,
    from_layer: str,
    out_layer: str,
    use_bn: bool,
    use_relu: bool,
    num_output: int,
    kernel_size: Any,
    pad: Any,
    stride: Any,
    dilation: int = 1,
    use_scale: bool = True,
    lr_mult: float = 1,
    conv_prefix: str = "",
    conv_postfix: str = "",
    bn_prefix: str = "",
    bn_postfix: str = "_bn",
    scale_prefix: str = "",
    scale_postfix: str = "_scale",
    bias_prefix: str = "",
    bias_postfix: str = "_bias",
    **bn_params: Any,
) -> None:
    """Add a convolution; with `use_bn` BatchNorm and Scale or Bias; with `use_relu` ReLU.

    bn_params: eps (0.001), moving_average_fraction (0.999) or use_global_stats of the BatchNorm.
    The layers are named by `out_layer` between their prefix and postfix.
    """
    name = f"{conv_prefix}{out_layer}{conv_postfix}"
    settings: dict[str, Any] = _window(kernel_size, pad, stride)
    weight = dict(lr_mult=lr_mult, decay_mult=1)
    if use_bn:
        settings.update(param=[weight], weight_filler=dict(type="gaussian", std=0.01))
        settings["bias_term"] = False
    else:
        settings.update(_plain_settings())
        settings["param"] = [weight, dict(lr_mult=2 * lr_mult, decay_mult=0)]
    if dilation > 1:
        settings["dilation"] = dilation
    net[name] = L.Convolution(net[from_layer], num_output=num_output, **settings)
    if use_bn:
        norm = f"{bn_prefix}{out_layer}{bn_postfix}"
        net[norm] = L.BatchNorm(net[name], in_place=True, **_norm_settings(bn_params))
        rate = 0 if bn_params.get("use_global_stats") else lr_mult
        param = dict(lr_mult=rate, decay_mult=0)
        if use_scale:
            _scale(net, norm, f"{scale_prefix}{out_layer}{scale_postfix}", param)
        else:
            net[f"{bias_prefix}{out_layer}{bias_postfix}"] = L.Bias(
                net[norm], in_place=True, param=[param], filler=dict(type="constant", value=0.0)
            )
    if use_relu:
        net[f"{name}_relu"] = L.ReLU(net[name], in_place=True)


def _scale(net: NetSpec, layer: str, name: str, param: Mapping[str, float]) -> None:
    """Add a Scale layer with a bias, in place."""
    one, zero = (dict(type="constant", value=value) for value in (1.0, 0.0))
    net[name] = L.Scale(
        net[layer], in_place=True, bias_term=True, param=[dict(param)] * 2, filler=one,
        bias_filler=zero,
    )  # fmt: skip


def _norm_settings(bn_params: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"param": [_FROZEN] * 3, "eps": bn_params.get("eps", 0.001)}
    if bn_params.get("use_global_stats"):
        settings["use_global_stats"] = True
    else:
        settings["moving_average_fraction"] = bn_params.get("moving_average_fraction", 0.999)
    return settings


def ResBody(
    net: NetSpec,
    from_layer: str,
    block_name: str,
    out2a: int,
    out2b: int,
    out2c: int,
    stride: int,
    use_branch1: bool,
    dilation: int = 1,
    **bn_param: Any,
) -> None:
    """Add a bottleneck block of a residual net (He et al. 2015): res<block_name>.

    out2a, out2b, out2c: the channels of its 1 x 1, 3 x 3 and 1 x 1 convolutions. use_branch1: the
    shortcut is a convolution too.
    """
    prefix = f"res{block_name}_"
    names = dict(
        conv_prefix=prefix,
        bn_prefix=f"bn{block_name}_",
        bn_postfix="",
        scale_prefix=f"scale{block_name}_",
        scale_postfix="",
        **bn_param,
    )
    shortcut = from_layer
    if use_branch1:
        ConvBNLayer(net, from_layer, "branch1", True, False, out2c, 1, 0, stride, **names)
        shortcut = f"{prefix}branch1"
    ConvBNLayer(net, from_layer, "branch2a", True, True, out2a, 1, 0, stride, **names)
    ConvBNLayer(
        net, f"{prefix}branch2a", "branch2b", True, True, out2b, 3, _same_pad(3, dilation), 1,
        dilation, **names,
    )  # fmt: skip
    ConvBNLayer(net, f"{prefix}branch2b", "branch2c", True, False, out2c, 1, 0, 1, **names)
    block = f"res{block_name}"
    net[block] = L.Eltwise(net[shortcut], net[f"{prefix}branch2c"])
    net[f"{block}_relu"] = L.ReLU(net[block], in_place=True)


def _residual_net(
    net: NetSpec,
    from_layer: str,
    blocks: Sequence[Sequence[str]],
    use_pool5: bool,
    use_dilation_conv5: bool,
    bn_param: Mapping[str, Any],
) -> NetSpec:
    """Add a residual net of four stages. blocks: the names of the blocks of each stage."""
    names: dict[str, Any] = dict(bn_prefix="bn_", scale_prefix="scale_", **bn_param)
    names.update(bn_postfix="", scale_postfix="")
    ConvBNLayer(net, from_layer, "conv1", True, True, 64, 7, 3, 2, **names)
    net.pool1 = L.Pooling(net.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    last = "pool1"
    for stage, stage_blocks in enumerate(blocks):
        width = 64 << stage
        dilated = stage == 3 and use_dilation_conv5
        stride = 1 if stage == 0 or dilated else 2
        for index, block in enumerate(stage_blocks):
            ResBody(
                net, last, block, width, width, 4 * width, 1 if index else stride, not index,
                2 if dilated else 1, **bn_param,
            )  # fmt: skip
            last = f"res{block}"
    if use_pool5:
        net.pool5 = L.Pooling(net[last], pool=P.Pooling.AVE, global_pooling=True)
    return net


def ResNet101Body(
    net: NetSpec,
    from_layer: str,
    use_pool5: bool = True,
    use_dilation_conv5: bool = False,
    **bn_param: Any,
) -> NetSpec:
    """Add ResNet-101 up to res5c, and pool5. The last stage is dilated or of stride 2."""
    blocks = [("2a", "2b", "2c"), _numbered(3, 3), _numbered(4, 22), ("5a", "5b", "5c")]
    return _residual_net(net, from_layer, blocks, use_pool5, use_dilation_conv5, bn_param)


def ResNet152Body(
    net: NetSpec,
    from_layer: str,
    use_pool5: bool = True,
    use_dilation_conv5: bool = False,
    **bn_param: Any,
) -> NetSpec:
    """As ResNet101Body, with 8 and 36 blocks in the second and the third stage."""
    blocks = [("2a", "2b", "2c"), _numbered(3, 7), _numbered(4, 35), ("5a", "5b", "5c")]
    return _residual_net(net, from_layer, blocks, use_pool5, use_dilation_conv5, bn_param)


def _numbered(stage: int, count: int) -> list[str]:
    return [f"{stage}a", *(f"{stage}b{number}" for number in range(1, count + 1))]


def VGGNetBody(
    net: NetSpec,
    from_layer: str,
    need_fc: bool = True,
    fully_conv: bool = False,
    reduced: bool = False,
    dilated: bool = False,
    nopool: bool = False,
    dropout: bool = True,
    freeze_layers: Iterable[str] = (),
    dilate_pool4: bool = False,
) -> NetSpec:
    """Add VGG-16 up to conv5_3, and fc6 and fc7 with `need_fc`.

    fully_conv: fc6 and fc7 are convolutions, of 1024 channels if `reduced`. dilated: pool5 has
    stride 1, and fc6 is dilated. nopool: convolutions of stride 2 take the place of pooling.
    dilate_pool4: pool4 has stride 1, and what follows is dilated. freeze_layers: layers that do
    not learn.
    """
    settings = _plain_settings()
    last, dilation = from_layer, 1
    for stage, (depth, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        window = dict(pad=_same_pad(3, dilation), kernel_size=3)
        if stage == 5:
            window["dilation"] = dilation
        for index in range(1, depth + 1):
            conv, relu = f"conv{stage}_{index}", f"relu{stage}_{index}"
            net[conv] = L.Convolution(net[last], num_output=width, **window, **settings)
            net[relu] = L.ReLU(net[conv], in_place=True)
            last = relu
        if stage == 5 and not need_fc:
            break
        dilation = 2 if stage == 4 and dilate_pool4 else dilation
        name = f"conv{stage}_{depth + 1}" if nopool else f"pool{stage}"
        stride = 1 if stage == 5 and dilated else 2
        if nopool:
            net[name] = L.Convolution(
                net[last], num_output=width, pad=1, kernel_size=3, stride=stride, **settings
            )
        elif stride == 1 or (stage == 4 and dilate_pool4):
            net[name] = L.Pooling(net[last], pool=P.Pooling.MAX, pad=1, kernel_size=3, stride=1)
        else:
            net[name] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        last = name
    if need_fc:
        _vgg_classifier(net, last, fully_conv, reduced, dilated, dropout, dilation)
    for name in freeze_layers:
        if name in net.tops:
            net.update(name, dict(settings, param=[_FROZEN, _FROZEN]))
    return net


def _plain_settings() -> dict[str, Any]:
    return dict(
        param=[_WEIGHT, _BIAS],
        weight_filler=dict(type="xavier"),
        bias_filler=dict(type="constant", value=0),
    )


def _vgg_classifier(
    net: NetSpec,
    last: str,
    fully_conv: bool,
    reduced: bool,
    dilated: bool,
    dropout: bool,
    dilation: int,
) -> None:
    """Add fc6 and fc7, each with ReLU and dropout."""
    settings = _plain_settings()
    num_output = 1024 if fully_conv and reduced else 4096
    if fully_conv:
        kernel_size = 3 if reduced else 7
        if dilated:
            dilation *= 6 if reduced else 2
        elif reduced:
            dilation *= 3
        net.fc6 = L.Convolution(
            net[last], num_output=num_output, pad=_same_pad(kernel_size, dilation),
            kernel_size=kernel_size, dilation=dilation, **settings,
        )  # fmt: skip
    else:
        net.fc6 = L.InnerProduct(net[last], num_output=num_output)
    net.relu6 = L.ReLU(net.fc6, in_place=True)
    if dropout:
        net.drop6 = L.Dropout(net.relu6, dropout_ratio=0.5, in_place=True)
    if fully_conv:
        net.fc7 = L.Convolution(net.relu6, num_output=num_output, kernel_size=1, **settings)
    else:
        net.fc7 = L.InnerProduct(net.relu6, num_output=num_output)
    net.relu7 = L.ReLU(net.fc7, in_place=True)
    if dropout:
        net.drop7 = L.Dropout(net.relu7, dropout_ratio=0.5, in_place=True)
