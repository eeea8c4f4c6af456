"""Pieces of nets as the families of forks write them: their spellings, their fields, their order.

Each entry of `FAMILIES` is the text of a small net. `DATA` is the text of its input.
"""

from __future__ import annotations


def head(*dims: int, name: str = "data") -> str:
    """The input of a deploy net in the old form, with input_dim."""
    return f'input: "{name}"\n' + "".join(f"input_dim: {n}\n" for n in dims)


def shaped(*dims: int, name: str = "data") -> str:
    """The input of a deploy net in the form with input_shape."""
    return f'input: "{name}"\ninput_shape {{ {" ".join(f"dim: {n}" for n in dims)} }}\n'


def layer_input(name: str, *dims: int) -> str:
    """An Input layer."""
    sizes = " ".join(f"dim: {n}" for n in dims)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape: {{ {sizes} }} }} }}\n"
    )


SSD = """
layer { name: "conv4_3" type: "Convolution" bottom: "data" top: "conv4_3"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 pad: 1 kernel_size: 3 engine: CAFFE
    weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0 } } }
layer { name: "relu4_3" type: "ReLU" bottom: "conv4_3" top: "conv4_3" }
layer { name: "conv4_3_norm" type: "Normalize" bottom: "conv4_3" top: "conv4_3_norm"
  norm_param { across_spatial: false scale_filler { type: "constant" value: 20 }
    channel_shared: false } }
layer { name: "loc" type: "Convolution" bottom: "conv4_3_norm" top: "loc"
  convolution_param { num_output: 16 pad: 1 kernel_size: 3 stride: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat"
  flatten_param { axis: 1 } }
layer { name: "conf" type: "Convolution" bottom: "conv4_3_norm" top: "conf"
  convolution_param { num_output: 12 pad: 1 kernel_size: 3 stride: 1 } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_perm" top: "conf_flat"
  flatten_param { axis: 1 } }
layer { name: "priorbox" type: "PriorBox" bottom: "conv4_3_norm" bottom: "data" top: "priorbox"
  prior_box_param { min_size: 3.0 max_size: 6.0 aspect_ratio: 2 flip: true clip: false
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 1 offset: 0.5 } }
layer { name: "mbox_loc" type: "Concat" bottom: "loc_flat" top: "mbox_loc"
  concat_param { axis: 1 } }
layer { name: "conf_reshape" type: "Reshape" bottom: "conf_flat" top: "conf_reshape"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_softmax" type: "Softmax" bottom: "conf_reshape" top: "conf_softmax"
  softmax_param { axis: 2 } }
layer { name: "mbox_conf_flatten" type: "Flatten" bottom: "conf_softmax" top: "mbox_conf_flatten"
  flatten_param { axis: 1 } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "mbox_loc"
  bottom: "mbox_conf_flatten" bottom: "priorbox" top: "detection_out"
  include { phase: TEST }
  detection_output_param { num_classes: 3 share_location: true background_label_id: 0
    nms_param { nms_threshold: 0.45 top_k: 400 }
    save_output_param { output_directory: "/nowhere/results" output_name_prefix: "comp4_det_test_"
      output_format: "VOC" label_map_file: "data/labelmap_voc.prototxt"
      name_size_file: "data/test_name_size.txt" num_test_image: 4952 }
    code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01
    visualize: false visualize_threshold: 0.6 } }
"""

MOBILENET = """
layer { name: "conv0/dw" type: "DepthwiseConvolution" bottom: "data" top: "conv0/dw"
  param { lr_mult: 1.0 decay_mult: 1.0 }
  convolution_param { num_output: 4 bias_term: false pad: 1 kernel_size: 3 stride: 1 group: 4
    engine: CAFFE weight_filler { type: "msra" } } }
layer { name: "conv0/bn" type: "BatchNorm" bottom: "conv0/dw" top: "conv0/dw"
  param { lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 }
  batch_norm_param { use_global_stats: true eps: 1e-5 engine: CAFFE } }
layer { name: "conv0/scale" type: "Scale" bottom: "conv0/dw" top: "conv0/dw"
  scale_param { filler { value: 1 } bias_term: true bias_filler { value: 0 } } }
layer { name: "conv0/relu" type: "ReLU6" bottom: "conv0/dw" top: "conv0/dw" }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "conv0/dw" top: "shuffle"
  shuffle_channel_param { group: 2 } }
layer { name: "pool" type: "Pooling" bottom: "shuffle" top: "pool"
  pooling_param { pool: AVE global_pooling: true engine: CAFFE } }
layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" softmax_param { engine: CAFFE } }
"""

RPN = """
layer { name: "rpn_conv/3x3" type: "Convolution" bottom: "data" top: "rpn/output"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 1 } }
layer { name: "rpn_cls_score" type: "Convolution" bottom: "rpn/output" top: "rpn_cls_score"
  convolution_param { num_output: 18 kernel_size: 1 pad: 0 stride: 1 } }
layer { name: "rpn_bbox_pred" type: "Convolution" bottom: "rpn/output" top: "rpn_bbox_pred"
  convolution_param { num_output: 36 kernel_size: 1 pad: 0 stride: 1
    weight_filler { type: "gaussian" std: 0.01 } } }
layer { bottom: "rpn_cls_score" top: "rpn_cls_score_reshape" name: "rpn_cls_score_reshape"
  type: "Reshape" reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "rpn_cls_prob" type: "Softmax" bottom: "rpn_cls_score_reshape"
  top: "rpn_cls_prob" }
layer { name: 'rpn_cls_prob_reshape' type: 'Reshape' bottom: 'rpn_cls_prob'
  top: 'rpn_cls_prob_reshape' reshape_param { shape { dim: 0 dim: 18 dim: -1 dim: 0 } } }
layer { name: 'proposal' type: 'Python' bottom: 'rpn_cls_prob_reshape' bottom: 'rpn_bbox_pred'
  bottom: 'im_info' top: 'rois'
  python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer'
    param_str: "'feat_stride': 16" } }
layer { name: "roi_pool5" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool5"
  roi_pooling_param { pooled_w: 3 pooled_h: 3 spatial_scale: 0.0625 # 1/16
  } }
layer { name: "drop6" type: "Dropout" bottom: "pool5" top: "pool5"
  dropout_param { dropout_ratio: 0.5 scale_train: false } }
"""

SEGNET = """
layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
  convolution_param { weight_filler { type: "msra" } bias_filler { type: "constant" }
    num_output: 4 pad: 1 kernel_size: 3 } }
layer { bottom: "conv1_1" top: "conv1_1" name: "conv1_1_bn" type: "BN"
  bn_param { scale_filler { type: "constant" value: 1 }
    shift_filler { type: "constant" value: 0.001 } bn_mode: INFERENCE } }
layer { name: "pool1" type: "Pooling" bottom: "conv1_1" top: "pool1" top: "pool1_mask"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "encdrop" type: "Dropout" bottom: "pool1" top: "pool1"
  dropout_param { dropout_ratio: 0.5 sample_weights_test: true } }
layer { name: "upsample1" type: "Upsample" bottom: "pool1" bottom: "pool1_mask" top: "upsample1"
  upsample_param { scale: 2 upsample_w: 9 upsample_h: 7 } }
layer { name: "argmax" type: "ArgMax" bottom: "upsample1" top: "argmax"
  argmax_param { axis: 1 } }
"""

PSPNET = """
layer { name: "conv1/bn" type: "BN" bottom: "data" top: "conv1" param { lr_mult: 1 decay_mult: 0 }
  param { lr_mult: 1 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 }
  param { lr_mult: 0 decay_mult: 0 }
  bn_param { slope_filler { type: "constant" value: 1.0 }
    bias_filler { type: "constant" value: 0.0 } frozen: true momentum: 0.95 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: AVE kernel_size: 3 stride: 3 } }
layer { name: "interp" type: "Interp" bottom: "pool1" top: "interp"
  interp_param { height: 9 width: 9 } }
layer { name: "zoom" type: "Interp" bottom: "interp" top: "zoom"
  interp_param { zoom_factor: 2 pad_beg: 0 pad_end: 0 } }
"""

SENET = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE engine: CAFFE global_pooling: true } }
layer { name: "down" type: "Convolution" bottom: "pool" top: "down"
  convolution_param { num_output: 4 kernel_size: 1 stride: 1 } }
layer { name: "prob" type: "Sigmoid" bottom: "down" top: "prob" }
layer { name: "axpy" type: "Axpy" bottom: "prob" bottom: "data" bottom: "data" top: "axpy" }
layer { name: "ceil" type: "Pooling" bottom: "axpy" top: "ceil"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 ceil_mode: false } }
"""

C3D_V1 = """
layers { name: "conv1a" type: CONVOLUTION3D bottom: "data" top: "conv1a"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 kernel_depth: 3 pad: 1 temporal_pad: 1
    weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0 } } }
layers { name: "relu1a" type: RELU bottom: "conv1a" top: "conv1a" }
layers { name: "pool1" type: POOLING3D bottom: "conv1a" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 kernel_depth: 1 stride: 2 temporal_stride: 1 } }
layers { name: "fc6" type: INNER_PRODUCT bottom: "pool1" top: "fc6"
  inner_product_param { num_output: 3 } }
layers { name: "prob" type: SOFTMAX bottom: "fc6" top: "prob" }
"""

DEEPLAB_V1 = """
layers { bottom: "data" top: "conv1" name: "conv1" type: CONVOLUTION
  strict_dim: false convolution_param { num_output: 4 pad: 2 kernel_size: 3 hole: 2 } }
layers { bottom: "conv1" top: "conv1" name: "relu1" type: RELU }
layers { bottom: "conv1" top: "pool1" name: "pool1" type: POOLING
  pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 } }
layers { bottom: "pool1" top: "fc8" name: "fc8" type: CONVOLUTION
  convolution_param { num_output: 3 kernel_size: 1
    weight_filler { type: "gaussian" std: 0.01 } } }
layers { bottom: "fc8" top: "fc8_interp" name: "fc8_interp" type: INTERP
  interp_param { zoom_factor: 8 } }
"""

DECONVNET_V1 = """
layers { bottom: "data" top: "conv1" name: "conv1" type: CONVOLUTION
  convolution_param { num_output: 4 pad: 1 kernel_size: 3 } }
layers { bottom: 'conv1' top: 'conv1' name: 'bnconv1' type: BN
  bn_param { scale_filler { type: 'constant' value: 1 }
    shift_filler { type: 'constant' value: 0.001 } bn_mode: INFERENCE } }
layers { bottom: "conv1" top: "pool1" top: "pool1_mask" name: "pool1" type: POOLING
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layers { type: UNPOOLING bottom: "pool1" bottom: "pool1_mask" top: "unpool1" name: "unpool1"
  unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 8 } }
layers { bottom: "unpool1" top: "deconv" name: "deconv" type: DECONVOLUTION
  convolution_param { num_output: 3 pad: 1 kernel_size: 3 } }
"""

CRFRNN = """
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { type: 'Split' name: 'splitting' bottom: 'score' top: 'unary' top: 'Q0' }
layer { name: "inference1" type: "MultiStageMeanfield" bottom: "unary" bottom: "Q0"
  bottom: "data" top: "pred"
  multi_stage_meanfield_param { num_iterations: 2 compatibility_mode: POTTS threshold: 2
    theta_alpha: 160 theta_beta: 3 theta_gamma: 3 spatial_filter_weight: 3
    bilateral_filter_weight: 5 } }
"""

FLOWNET2 = """
layer { name: "aug" type: "DataAugmentation" bottom: "data" top: "img0" propagate_down: false
  augmentation_param { max_multiplier: 1 augment_during_test: false recompute_mean: 1000
    mean_per_pixel: false } }
layer { name: "conv" type: "Convolution" bottom: "img0" top: "conv_a"
  param { lr_mult: 1 decay_mult: 1 name: "conv_w" }
  param { lr_mult: 1 decay_mult: 0 name: "conv_b" }
  convolution_param { num_output: 4 pad: 1 kernel_size: 3 engine: CUDNN
    weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv_a" top: "conv_a"
  relu_param { negative_slope: 0.1 } }
layer { name: "corr" type: "Correlation" bottom: "conv_a" bottom: "conv_a" top: "corr"
  correlation_param { pad: 4 kernel_size: 1 max_displacement: 4 stride_1: 1 stride_2: 2 } }
layer { name: "scale" type: "Convolution" bottom: "corr" top: "flow"
  convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
layer { name: "diag" type: "Convolution" bottom: "flow" top: "flow_s"
  convolution_param { num_output: 2 pad: 0 kernel_size: 1 stride: 1 bias_term: false
    weight_filler { type: "diagonal" diag_val: 1.02 diag_val: 0.98 } } }
layer { name: "resample" type: "Resample" bottom: "flow_s" top: "flow_r"
  resample_param { width: 12 height: 8 type: LINEAR antialias: true } }
layer { name: "warp" type: "FlowWarp" bottom: "data" bottom: "flow_r" top: "warped" }
layer { name: "diff" type: "Eltwise" bottom: "data" bottom: "warped" top: "diff"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "norm" type: "ChannelNorm" bottom: "diff" top: "norm" }
layer { name: "silence" type: "Silence" bottom: "norm" }
"""

CTPN = """
layer { name: "im2col" bottom: "data" top: "im2col" type: "Im2col"
  convolution_param { pad: 1 kernel_size: 3 } }
layer { name: "im2col_transpose" top: "im2col_transpose" bottom: "im2col" type: "Transpose"
  transpose_param { dim: 3 dim: 2 dim: 0 dim: 1 } }
layer { name: "lstm_input" type: "Reshape" bottom: "im2col_transpose" top: "lstm_input"
  reshape_param { shape { dim: -1 } axis: 1 num_axes: 2 } }
layer { name: "lstm" type: "Lstm" bottom: "lstm_input" top: "lstm"
  lstm_param { num_output: 5 weight_filler { type: "gaussian" std: 0.01 }
    bias_filler { type: "constant" } clipping_threshold: 1 } }
layer { name: "rlstm_input" type: "Reverse" bottom: "lstm_input" top: "rlstm_input"
  reverse_param { axis: 0 } }
"""

OCR = """
layer { name: "permuted_data" type: "Permute" bottom: "data" top: "permuted_data"
  permute_param { order: 3 order: 0 order: 1 order: 2 } }
layer { name: "lstm1" type: "Lstm" bottom: "permuted_data" top: "lstm1"
  lstm_param { num_output: 5 } }
layer { name: "fc1x" type: "InnerProduct" bottom: "lstm1" top: "fc1x"
  inner_product_param { num_output: 6 axis: 2 } }
layer { name: "decode" type: "CtcDecoder" bottom: "fc1x" top: "decode"
  ctc_decoder_param { blank_index: 0 ctc_merge_repeated: true } }
"""

YOLOV3 = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 21 kernel_size: 1 } }
layer { name: "up" type: "Upsample" bottom: "conv" top: "up" upsample_param { scale: 2 } }
layer { name: "detection_out" type: "Yolov3DetectionOutput" bottom: "conv" bottom: "up"
  top: "detection_out" include { phase: TEST }
  yolov3_detection_output_param { confidence_threshold: 0.01 nms_threshold: 0.45 num_classes: 2
    biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58 biases: 81 biases: 82
    biases: 135 biases: 169 biases: 344 biases: 319
    mask: 3 mask: 4 mask: 5 mask: 0 mask: 1 mask: 2
    anchors_scale: 32 anchors_scale: 16 mask_group_num: 2 } }
"""

YOLOV2 = """
layer { name: "reorg" type: "Reorg" bottom: "data" top: "reorg" reorg_param { stride: 2 } }
layer { name: "conv" type: "Convolution" bottom: "reorg" top: "conv"
  convolution_param { num_output: 35 kernel_size: 1 } }
layer { name: "region" type: "RegionLoss" bottom: "conv" bottom: "label" top: "det_loss"
  include { phase: TRAIN } loss_weight: 1
  region_loss_param { side: 4 num_class: 2 coords: 4 num: 5 softmax: 1 jitter: 0.2 rescore: 1
    object_scale: 5.0 noobject_scale: 1.0 class_scale: 1.0 coord_scale: 1.0 absolute: 1
    thresh: 0.6 random: 0 biases: 1.08 biases: 1.19 biases: 3.42 biases: 4.41 biases: 6.63
    biases: 11.38 biases: 9.42 biases: 5.11 biases: 16.62 biases: 10.52 } }
layer { name: "detection_out" type: "YoloDetectionOutput" bottom: "conv" top: "detection_out"
  include { phase: TEST }
  yolo_detection_output_param { confidence_threshold: 0.01 nms_threshold: 0.45 num_classes: 2
    biases: 1.08 biases: 1.19 biases: 3.42 biases: 4.41 biases: 6.63 biases: 11.38 biases: 9.42
    biases: 5.11 biases: 16.62 biases: 10.52 label_map_file: "data/labelmap.prototxt" } }
"""

MSCNN = """
layer { name: "loss_8x8" type: "Convolution" bottom: "data" top: "LFCN_1_8x8"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "proposals" type: "BoxOutput" bottom: "LFCN_1_8x8" top: "proposals"
  top: "proposals_score"
  box_output_param { fg_thr: -5 iou_thr: 0.65 nms_type: "IOU" field_w: 40 field_h: 60
    downsample_rate: 8 field_whr: 2 field_xyr: 2 max_nms_num: 20 } }
layer { name: "roi_pool" type: "ROIPooling" bottom: "data" bottom: "proposals" top: "roi_pool"
  roi_pooling_param { pooled_w: 2 pooled_h: 2 spatial_scale: 0.125 pad_ratio: 0.25 } }
layer { name: "roi_c" type: "ROIPooling" bottom: "data" bottom: "proposals" top: "roi_c"
  roi_pooling_param { pooled_w: 2 pooled_h: 2 spatial_scale: 0.125 } }
"""

MNC = """
layer { name: "roi_warping" type: "ROIWarping" bottom: "data" bottom: "rois" top: "warped"
  roi_warping_param { pooled_w: 4 pooled_h: 4 spatial_scale: 0.0625 } }
layer { name: "mask" type: "Convolution" bottom: "warped" top: "mask"
  convolution_param { num_output: 1 kernel_size: 1 } }
layer { name: "mask_resize" type: "MaskResize" bottom: "mask" top: "mask_resize"
  mask_resize_param { output_height: 2 output_width: 2 } }
layer { name: "pool" type: "Pooling" bottom: "warped" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "masked" type: "MaskPooling" bottom: "pool" bottom: "mask_resize" top: "masked" }
"""

FACES = """
layer { name: "fc5" type: "InnerProduct" bottom: "data" top: "fc5"
  inner_product_param { num_output: 4 } }
layer { name: "drop5" type: "Dropout" bottom: "fc5" top: "fc5"
  dropout_param { dropout_ratio: 0.4 sqrt_scale: true } }
layer { name: "norm1" type: "Normalize" bottom: "fc5" top: "norm1"
  normalize_param { normalize_type: "L2" } }
layer { name: "fc6_l2" type: "InnerProduct" bottom: "norm1" top: "fc6"
  param { lr_mult: 1 }
  inner_product_param { num_output: 5 normalize: true bias_term: false } }
layer { name: "flip" type: "Flip" bottom: "data" top: "flip"
  flip_param { flip_width: true flip_height: false } }
"""

NVCAFFE = """
default_forward_type: FLOAT16 default_backward_type: FLOAT16 default_forward_math: FLOAT
global_grad_scale: 1000 default_conv_algos_override: "1,1,3"
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" forward_type: FLOAT
  backward_math: FLOAT
  convolution_param { num_output: 4 kernel_size: 3 cudnn_convolution_algo_seeker: FINDEX
    conv_algos_override: "-1,-1,-1" cudnn_math_override: 1 engine: CUDNN } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "bn1"
  batch_norm_param { moving_average_fraction: 0.9 eps: 0.0001 scale_bias: true
    scale_filler { type: "constant" value: 1 } engine: CUDNN } }
layer { name: "drop" type: "Dropout" bottom: "bn1" top: "bn1"
  dropout_param { dropout_ratio: 0.5 random_seed: 3 engine: CAFFE } }
"""

INTEL = """
engine: "MKLDNN" compile_net_state { bn_scale_remove: true }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 relu: true conv_algorithm: "winograd"
    engine: MKLDNN } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "bn"
  batch_norm_param { filler { value: 1 } bias_filler { value: 0 } use_weight_bias: true
    bias_term: true relu: true engine: MKL2017 stats_batch_size: 16 } }
layer { name: "split" type: "Split" bottom: "bn" top: "a" top: "b"
  split_param { engine: MKLDNN } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum"
  eltwise_param { operation: SUM engine: MKLDNN } }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 avg_include_pad: true } }
layer { name: "concat" type: "Concat" bottom: "pool" bottom: "pool" top: "concat"
  concat_param { engine: MKL2017 per_fla_fuse: true } }
"""

POSE = """
layer { name: "heat" type: "Convolution" bottom: "data" top: "heat"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "resize" type: "ImResize" bottom: "heat" top: "resized_map"
  imresize_param { factor: 8 scale_gap: 0.3 start_scale: 1 } }
layer { name: "nms" type: "Nms" bottom: "resized_map" top: "joints"
  nms_param { threshold: 0.05 max_peaks: 20 num_parts: 2 } }
"""

TSN = """
layer { name: "bn" type: "BN" bottom: "data" top: "bn"
  bn_param { slope_filler { type: "constant" value: 1 } bias_filler { type: "constant" }
    frozen: true } }
layer { name: "reshape_fc" type: "Reshape" bottom: "bn" top: "reshape_fc"
  reshape_param { shape { dim: [-1, 1, 2, 4] } } }
layer { name: "pool_fusion" type: "Pooling" bottom: "reshape_fc" top: "pool_fusion"
  pooling_param { pool: AVE kernel_h: 2 kernel_w: 1 } }
"""

ECO = """
layer { name: "r2Dto3D" type: "Reshape" bottom: "data" top: "r2Dto3D"
  reshape_param { shape { dim: -1 dim: 4 dim: 3 dim: 7 dim: 7 } } }
layer { name: "trans" type: "Permute" bottom: "r2Dto3D" top: "trans"
  permute_param { order: 0 order: 2 order: 1 order: 3 order: 4 } }
layer { name: "res3a_2n" type: "Convolution" bottom: "trans" top: "res3a_2n"
  convolution_param { num_output: 5 pad: [1, 1, 1] kernel_size: [3, 3, 3] stride: [1, 1, 1] } }
layer { name: "res3a_bn" type: "BN" bottom: "res3a_2n" top: "res3a_bn" bn_param { frozen: true } }
layer { name: "global_pool" type: "Pooling" bottom: "res3a_bn" top: "global_pool"
  pooling_param { pool: AVE kernel_size: [4, 7, 7] stride: [1, 1, 1] } }
"""

DEEPLAB_V2 = """
layer { name: "fc8" type: "Convolution" bottom: "data" top: "fc8"
  convolution_param { num_output: 3 kernel_size: 3 pad: 6 dilation: 6 } }
layer { name: "shrink" type: "Interp" bottom: "data" top: "label_shrink"
  interp_param { shrink_factor: 8 pad_beg: 0 pad_end: 0 } }
layer { name: "fc8_interp" type: "Interp" bottom: "fc8" top: "fc8_interp"
  interp_param { zoom_factor: 1 } }
layer { name: "crf" type: "DenseCRF" bottom: "fc8_interp" bottom: "data_dim" bottom: "data"
  top: "crf_inf"
  dense_crf_param { max_iter: 2 pos_w: 3 pos_xy_std: 3 bi_w: 4 bi_xy_std: 67 bi_rgb_std: 3
    output_probability: false } }
"""

WEIRD = """name: 'caf\\303\\251'   # a comment with "quotes' and { braces
layer
{
  name : "c"; type : "Convolution", bottom : ['data'] top : "c"
  convolution_param < num_output : 0x4 kernel_size : [3, 3] pad : 01
    weight_filler : { type : "gaussian" std : 1e-2f } >
}
layer { name: "b" type: "Bias" bottom: "c" top: "c" bias_param { axis: 1 num_axes: 1 } };
layer { name: "p" "type": "Power" bottom: "c" top: "p" power_param { shift: - 1 } }
""".replace('"type":', "type:")

DEEPLAB_V1_LOSS = """
layers { bottom: "label" top: "label_shrink" name: "label_shrink" type: INTERP
  interp_param { shrink_factor: 8 pad_beg: 0 pad_end: 0 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "data" bottom: "label_shrink"
  softmaxloss_param { ignore_label: 255 } include: { phase: TEST } }
layers { name: "accuracy" type: SEG_ACCURACY bottom: "data" bottom: "label_shrink"
  top: "accuracy" seg_accuracy_param { ignore_label: 255 } }
"""

LSTM = """
layer { name: "lstm1" type: "LSTM" bottom: "data" bottom: "clip" top: "lstm1"
  lstm_param { num_output: 3 clipping_threshold: 0.1
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" } } }
"""

#: Name -> the text of a net.
#: Settings that regularise the shapes of kernels, and one that chooses a matrix product.
SSL = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 kernel_shape_decay_mult: 1 breadth_decay_mult: 0
    block_group_lasso { xdimen: 1 ydimen: 9 block_decay_mult: 1 } } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 conv_mode: LOWERED_CSRMM } }
"""

DEFORMABLE = """
layer { name: "offset" type: "Convolution" bottom: "data" top: "offset"
  convolution_param { num_output: 54 kernel_size: 3 stride: 1 dilation: 2 pad: 2
    weight_filler { type: "constant" value: 0.1 } } }
layer { name: "res5a" type: "DeformableConvolution" bottom: "data" bottom: "offset" top: "res5a"
  deformable_convolution_param { num_output: 4 kernel_size: 3 stride: 1 pad: 2 engine: 1
    dilation: 2 deformable_group: 3 bias_term: false weight_filler { type: "msra" } } }
"""

#: V1's names of fork layers, and those of DeconvNet's training.
V1_NAMES = """
layers { name: "local" type: LOCAL bottom: "data" top: "local" blobs_lr: 1 blobs_lr: 2
  local_param { num_output: 3 kernel_size: 3 weight_filler { type: "xavier" } } }
layers { name: "accuracy" type: ELTWISE_ACCURACY bottom: "local" bottom: "label" top: "accuracy"
  eltwise_accuracy_param { ignore_label: 255 } }
"""

FAMILIES: dict[str, str] = {
    "ssl": head(1, 3, 8, 8) + SSL,
    "deformable": head(1, 3, 9, 9) + DEFORMABLE,
    "v1 names": head(1, 3, 5, 5) + head(1, 1, 1, 9, name="label") + V1_NAMES,
    "SSD": shaped(1, 3, 6, 6) + SSD,
    "MobileNet and ShuffleNet": shaped(1, 4, 6, 6) + MOBILENET,
    "Faster R-CNN": shaped(1, 4, 8, 8) + shaped(1, 3, name="im_info") + RPN,
    "SegNet": head(1, 3, 7, 9) + SEGNET,
    "PSPNet": head(1, 3, 9, 9) + PSPNET,
    "SENet": shaped(1, 4, 6, 6) + SENET,
    "C3D": 'input: "data"\ninput_shape { dim: 1 dim: 3 dim: 4 dim: 6 dim: 6 }\n' + C3D_V1,
    "DeepLab v1": head(1, 3, 9, 9) + DEEPLAB_V1,
    "DeepLab v1, its loss": head(2, 3, 2, 2) + head(2, 1, 9, 9, name="label") + DEEPLAB_V1_LOSS,
    "caffe-lstm": shaped(6, 4) + shaped(6, 1, name="clip") + LSTM,
    "DeconvNet": head(1, 3, 8, 8) + DECONVNET_V1,
    "CRF-RNN": head(1, 3, 6, 5) + CRFRNN,
    "FlowNet2": layer_input("data", 1, 3, 8, 12) + FLOWNET2,
    "CTPN": head(1, 3, 4, 6) + CTPN,
    "OCR": layer_input("data", 2, 3, 4, 6) + OCR,
    "YOLOv3": layer_input("data", 1, 3, 4, 4) + YOLOV3,
    "YOLOv2": layer_input("data", 1, 4, 8, 8) + YOLOV2,
    "MS-CNN": head(1, 4, 8, 8) + MSCNN,
    "MNC": shaped(1, 4, 8, 8) + shaped(2, 5, name="rois") + MNC,
    "faces": shaped(2, 3, 6, 5) + FACES,
    "NVCaffe": layer_input("data", 1, 3, 6, 6) + NVCAFFE,
    "Intel": layer_input("data", 1, 3, 6, 6) + INTEL,
    "pose": head(1, 3, 4, 4) + POSE,
    "TSN": head(4, 4, 1, 1) + TSN,
    "ECO": head(4, 3, 7, 7) + ECO,
    "DeepLab v2": shaped(1, 3, 9, 9) + shaped(1, 1, 1, 2, name="data_dim") + DEEPLAB_V2,
    "spelling": head(1, 3, 6, 6) + WEIRD,
}
