"""Which public fork of Caffe a layer type or a field comes from.

The entries of a fork are its layer types, under `types`, and its fields, by message. Several forks
may have the same entry. The table also has the types that forks define without settings.
"""

from __future__ import annotations

#: Fork -> message, or "types" -> names, separated by spaces.
ORIGINS: dict[str, dict[str, str]] = {
    "CMU-Perceptual-Computing-Lab/caffe_train": {
        "types": "CPMData",
        "LayerParameter": "cpm_transform_param",
    },
    "HiSilicon's NNIE (a converter)": {
        "types": "PassThrough",
        "LayerParameter": "pass_through_param",
    },
    "Huawei's ATC (a converter)": {
        "types": "SSDDetectionOutput Yolo YoloV3DetectionOutput",
        "LayerParameter": "ssddetectionoutput_param yolo_param yolov3_detection_output_param",
        "ProposalParameter": "iou_threshold output_actual_rois_num",
    },
    "HyeonwooNoh/caffe (DeconvNet)": {
        "types": "BN Unpooling WindowSegData",
    },
    "LisaAnne/lisa-caffe-public": {
        "AccuracyParameter": "denominator",
        "EltwiseParameter": "coeff_blob",
        "ImageDataParameter": "min_height min_width",
        "TransformationParameter": "flow",
    },
    "MhLiao/TextBoxes": {
        "types": (
            "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute "
            "PriorBox VideoData"
        ),
        "LayerParameter": (
            "annotated_data_param detection_evaluate_param detection_output_param "
            "multibox_loss_param norm_param permute_param prior_box_param video_data_param"
        ),
        "SolverParameter": "ap_version eval_type",
        "TransformationParameter": "crop_h crop_w emit_constraint noise_param resize_param",
    },
    "NVIDIA/caffe": {
        "types": (
            "AnnotatedData AxpyLossScale DetectionEvaluate DetectionOutput "
            "DetectNetTransformation MultiBoxLoss Normalize Permute PriorBox VideoData"
        ),
        "BatchNormParameter": "bias_filler engine scale_bias scale_filler",
        "BlobProto": "raw_data raw_data_type raw_diff raw_diff_type",
        "ConvolutionParameter": "conv_algos_override cudnn_convolution_algo_seeker",
        "DataParameter": "cache parser_threads precache shuffle threads",
        "DropoutParameter": "engine random_seed",
        "ImageDataParameter": "cache dataset_share_per_node precache short_side threads",
        "LayerParameter": (
            "annotated_data_param backward_math backward_type detection_evaluate_param "
            "detection_output_param detectnet_augmentation_param detectnet_groundtruth_param "
            "forward_math forward_type multibox_loss_param norm_param permute_param "
            "prior_box_param video_data_param"
        ),
        "LossParameter": "label_smoothing",
        "NetParameter": (
            "default_backward_math default_backward_type default_conv_algos_override "
            "default_cudnn_math_override default_forward_math default_forward_type "
            "eltwise_mem_sharing global_grad_scale global_grad_scale_adaptive reduce_buckets"
        ),
        "PoolingParameter": "torch_pooling",
        "SolverParameter": (
            "ap_version eval_type larc larc_eta larc_policy larc_turbo max_momentum "
            "max_weight_decay min_lr momentum_policy momentum_power plateau_winsize "
            "rampup_interval rampup_lr show_per_class_result solver_data_type "
            "store_blobs_in_old_format test_and_snapshot_last_epochs weight_decay_policy "
            "weight_decay_power"
        ),
        "TransformationParameter": (
            "allow_upscale crop_h crop_w display distort_param emit_constraint expand_param "
            "forward_packing horizontal_stretch_lower horizontal_stretch_upper "
            "img_rand_resize_lower img_rand_resize_upper interpolation_algo_down "
            "interpolation_algo_up noise_param num_labels rand_resize_ratio_lower "
            "rand_resize_ratio_upper random_seed resize_param use_gpu_transform "
            "vertical_stretch_lower vertical_stretch_upper"
        ),
    },
    "Yuliang-Liu/Curve-Text-Detector": {
        "types": (
            "BoxAnnotatorOHEM PSROIPooling Reverse ROIPooling SmoothL1Loss SpatialTransformer "
            "Transpose"
        ),
        "AccuracyParameter": (
            "accuracy_ignore_label accuracy_iter accuracy_method preplexity preplexity_iter"
        ),
        "BatchNormParameter": "bias_filler engine scale_filler",
        "DataParameter": "seq_length use_float_label use_multi_label",
        "DropoutParameter": "scale_train",
        "LayerParameter": (
            "box_annotator_ohem_param psroi_pooling_param reverse_param roi_pooling_param "
            "smooth_l1_loss_param st_param transpose_param"
        ),
        "LossParameter": "cclass debug_info inputlength max_length nframe pre_fixed_normalizer",
        "SolverParameter": "snapshot_threadhold",
        "TransformationParameter": (
            "angle_interval contrast_adjustment data_style debug_display drop_segment "
            "drop_stroke max_perspective_ratio max_scaling_factor max_shearing_ratio "
            "min_scaling_factor n_iterated_integrals new_height new_width random_point_select "
            "random_square_drop reshape_width smooth_adjustment using_online warp_fillval"
        ),
    },
    "alexgkendall/caffe-segnet": {
        "types": "BN DenseImageData Upsample",
        "DropoutParameter": "sample_weights_test",
        "LayerParameter": "bn_param upsample_param",
        "LossParameter": "class_weighting weight_by_label_freqs",
    },
    "chuckcho/video-caffe": {
        "types": "VideoData",
        "BlobProto": "length",
        "ConvolutionParameter": "kernel_shape pad_shape stride_shape",
        "LayerParameter": "video_data_param",
        "PoolingParameter": "kernel_shape pad_shape stride_shape",
    },
    "daijifeng001/MNC": {
        "types": "MaskPooling MaskResize ROIWarping ROIWarpingTest SmoothL1LossWithWeight",
    },
    "debidatta/caffe-parsenet": {
        "types": "BN Normalize UnPooling",
        "ConvolutionParameter": "filter_stride filter_stride_h filter_stride_w",
        "DataParameter": "shuffle_buffer_size",
        "LayerParameter": "bn_param norm_param unpooling_param",
        "PoolingParameter": "bin_h bin_size bin_w",
        "SolverParameter": "eval_type log_avg_gradient_norm test_before_snapshot",
        "TransformationParameter": "noise_param random_90_deg_rot resize_param vertical_mirror",
    },
    "eric612/MobileNet-YOLO": {
        "types": (
            "AnnotatedData Concat_Pad DepthwiseConvolution DetectionEvaluate DetectionOutput "
            "Mish MultiBoxLoss Normalize Permute PriorBox RegionLoss ReLU ReLU6 Reorg Upsample "
            "YoloDetectionOutput Yolov3 Yolov3DetectionOutput"
        ),
        "LayerParameter": (
            "annotated_data_param detection_evaluate_param detection_output_param "
            "multibox_loss_param norm_param permute_param prior_box_param region_loss_param "
            "relu6_param reorg_param upsample_param yolo_detection_output_param "
            "yolov3_detection_output_param yolov3_param"
        ),
        "SolverParameter": (
            "ap_version eval_type plateau_winsize show_per_class_result stageiter stagelr"
        ),
        "TransformationParameter": (
            "apply_probability contrast_brightness_adjustment crop_h crop_w cvt_bgr2rgb "
            "debug_params distort_param emit_constraint enable_classf_aug expand_param "
            "max_brightness_shift max_color_shift max_contrast max_rotation_angle "
            "max_scaling_factor max_smooth min_contrast min_scaling_factor min_side "
            "min_side_max min_side_min noise_param resize_param smooth_filtering"
        ),
    },
    "ducha-aiki/caffenet-benchmark": {
        "types": "EltwiseAffine",
        "LayerParameter": "eltwise_affine_param",
    },
    "facebook/C3D": {
        "types": "Convolution3D Deconvolution3D Pooling3D VideoData VolumeData",
        "BlobProto": "length",
        "ConvolutionParameter": "filter_group kernel_depth temporal_pad temporal_stride",
        "DataParameter": "show_data",
        "ImageDataParameter": (
            "clip_max clip_min is_flow mean_value new_length num_truth_channels sampling_rate "
            "show_data truth_scale use_byte_input use_image use_label use_temporal_jitter"
        ),
        "LayerParameter": "blobs_lr video_data_param weight_decay",
        "PoolingParameter": "kernel_depth temporal_stride",
    },
    "farmingyard/ShuffleNet": {
        "types": "ConvolutionDepthwise ShuffleChannel",
    },
    "gklz1982/caffe-yolov2": {
        "types": "DetectionEvaluate DetectionOutput RegionLoss Reorg",
        "DataParameter": "side",
        "LayerParameter": (
            "detection_evaluate_param detection_output_param region_loss_param reorg_param"
        ),
        "SolverParameter": "stageiter stagelr",
    },
    "ZhaofanQiu/pseudo-3d-residual-networks": {
        "types": "Convolution3D Pooling3D",
        "LayerParameter": "convolution3d_param pooling3d_param",
    },
    "akirafukui/vqa-mcb": {
        "types": "CompactBilinear L2Normalize SignedSqrt",
        "LayerParameter": "compact_bilinear_param",
    },
    "gy20073/compact_bilinear_pooling": {
        "types": "CompactBilinear",
        "LayerParameter": "blobs_lr compact_bilinear_param weight_decay",
    },
    "happynear/caffe-windows": {
        "types": (
            "AutoScale BatchContrastiveLoss BilateralFilter BinaryConvolution BN CenterLoss "
            "ChannelScale CoupledClusterLoss FaceImageData Flip FlipConcat FocalLoss Gather "
            "GeneralContrastive GeneralTriplet GlobalPooling InnerDistance LabelSpecificAdd "
            "LabelSpecificAffine LabelSpecificHardMargin LabelSpecificRescale Local "
            "LocalConvolution MarginInnerProduct Noise Normalize NormalizedL2Loss Permute "
            "Proposal PSROIPooling Resize ROIPooling SmoothContrastive TruncatedLoss"
        ),
        "AccuracyParameter": "min_is_better",
        "BatchNormParameter": "bias_filler disable_mean disable_variance engine scale_filler",
        "ConvolutionParameter": "cudnn_convolution_algo_seeker shape_offset",
        "DropoutParameter": "sqrt_scale",
        "FillerParameter": "alpha",
        "ImageDataParameter": (
            "balance_by balance_class face_mirror face_point_num face_transform label_cut_end "
            "label_cut_start max_aspect_ratio max_random_scale max_random_shift "
            "max_rotate_angle max_shear_ratio min_random_scale"
        ),
        "InnerProductParameter": "normalize",
        "LayerParameter": (
            "bn_param center_loss_param channel_scale_param flip_param focal_loss_param "
            "local_param margin_inner_product_param normalize_param permute_param "
            "proposal_param psroi_pooling_param resize_param roi_pooling_param"
        ),
        "PoolingParameter": "blobs_a_min blobs_lr",
        "SoftmaxParameter": (
            "class_weight cutting_point hard_mining_label hard_ratio label_smooth_factor "
            "normalize_type"
        ),
        "SolverParameter": "clamp_weights_lower clamp_weights_upper clip_weights",
        "TransformationParameter": (
            "aspect_max aspect_min center_crop crop_h crop_w erase_ratio scale_max scale_min"
        ),
    },
    "hszhao/PSPNet": {
        "types": "BN DenseCRF DomainTransform ImageSegData Interp SegAccuracy",
        "BatchNormParameter": "update_global_stats",
        "ImageDataParameter": "ignore_label label_type",
        "LayerParameter": (
            "bn_param dense_crf_param domain_transform_param interp_param seg_accuracy_param"
        ),
        "TransformationParameter": "crop_height crop_width scale_factors",
    },
    "huangzehao/caffe-vdsr": {
        "LayerParameter": "blobs_lr weight_decay",
    },
    "hujie-frank/SENet": {
        "types": "Axpy",
    },
    "intel/caffe": {
        "types": (
            "AnnotatedData BoxAnnotatorOHEM DetectionEvaluate DetectionOutput MultiBoxLoss "
            "Normalize Permute PriorBox PSROIPooling RegionLoss Reorg ROIPooling SmoothL1Loss "
            "SpatialDropout Split VideoData"
        ),
        "BatchNormParameter": (
            "bias_filler bias_term engine filler relu stats_batch_size use_weight_bias"
        ),
        "ConcatParameter": "engine per_fla_fuse",
        "ConvolutionParameter": "coeff conv_algorithm fusion_type negative_slope relu",
        "DataParameter": "shuffle side",
        "EltwiseParameter": "engine",
        "FillerParameter": "scale",
        "ImageDataParameter": "min_height min_width",
        "InnerProductParameter": "engine negative_slope relu",
        "LayerParameter": (
            "annotated_data_param box_annotator_ohem_param detection_evaluate_param "
            "detection_output_param multibox_loss_param norm_param permute_param "
            "prior_box_param psroi_pooling_param region_loss_param reorg_param "
            "roi_pooling_param smooth_l1_loss_param spatial_dropout_param split_param "
            "video_data_param"
        ),
        "LossParameter": "label_smoothing pre_fixed_normalizer",
        "NetParameter": "bn_stats_batch_size compile_net_state engine multinode",
        "PoolingParameter": "avg_include_pad axis kernel_size_3d pad_3d stride_3d",
        "ReLUParameter": "fuse",
        "SolverParameter": (
            "ap_version disabled_update engine eval_type local_gw_ratio local_lr_auto "
            "plateau_winsize show_per_class_result stageiter stagelr test_offset warmup_iter "
            "warmup_start_lr"
        ),
        "TransformationParameter": (
            "bgr2rgb crop_h crop_w distort_param emit_constraint expand_param flow noise_param "
            "pad random_aspect_ratio_param random_resize_param resize_param"
        ),
    },
    "jhkim89/PyramidNet-caffe": {
        "types": "PadChannel",
        "LayerParameter": "pad_channel_param",
    },
    "junhyukoh/caffe-lstm": {
        "types": "LSTM Lstm",
        "LayerParameter": "lstm_param",
    },
    "kevinlin311tw/caffe-cvprw15": {
        "LayerParameter": "blobs_lr weight_decay",
    },
    "lmb-freiburg/flownet2": {
        "types": (
            "Accum AugParams BlackAugmentation ChannelNorm Correlation Correlation1D CustomData "
            "DataAugmentation Downsample FlowAugmentation FlowWarp "
            "GenerateAugmentationParameters L1Loss LpqLoss Mean Resample"
        ),
        "AugmentationParameter": (
            "brightness chromatic_eigvec col_add col_mult col_pow col_rotate color contrast "
            "fog_amount fog_size gamma ladd_add ladd_mult ladd_pow lmult_add lmult_mult lmult_pow "
            "motion_blur_angle motion_blur_size noise sat_add sat_mult sat_pow shadow_angle "
            "shadow_distance shadow_strength translate_x translate_y"
        ),
        "DataParameter": (
            "block_size disk_reader_threads encoding huge_video_dataset limit_samples "
            "permute_every_iter preselection_file preselection_label rand_permute "
            "rand_permute_order rand_permute_seed range_end range_start slice_point subtract "
            "verbose"
        ),
        "FillerParameter": "diag_val",
    },
    "msracver/Deep-Image-Analogy": {
        "types": (
            "BoxAnnotatorOHEM PSROIPooling ROIPooling SmoothL1Loss SmoothL1LossOHEM SoftmaxLossOHEM"
        ),
        "DropoutParameter": "scale_train",
        "LayerParameter": (
            "box_annotator_ohem_param psroi_pooling_param roi_pooling_param smooth_l1_loss_param"
        ),
        "LossParameter": "pre_fixed_normalizer",
    },
    "pmgysel/caffe (Ristretto)": {
        "types": "ConvolutionRistretto DeconvolutionRistretto FcRistretto LRNRistretto",
        "LayerParameter": "quantization_param",
    },
    "senlinuc/caffe_ocr": {
        "types": (
            "CTCDecoder CtcDecoder CTCLoss CtcLoss DenseBlock Interp LSTM Reverse Transpose "
            "WarpCTCLoss"
        ),
        "BatchNormParameter": "update_global_stats",
        "DataParameter": "task_class_num",
        "ImageDataParameter": "regression task_class_num",
        "LayerParameter": (
            "ctc_decoder_param ctc_loss_param denseblock_param interp_param lstm_param "
            "reverse_param transpose_param"
        ),
        "TransformationParameter": "add_noise crop_height crop_width noise_ratio scale_factors",
    },
    "s9xie/hed": {
        "types": "ImageLabelmapData",
    },
    "rksltnl/Deep-Metric-Learning-CVPR16": {
        "types": "LiftedStructSimilaritySoftmaxLoss",
        "LayerParameter": "lifted_struct_sim_softmax_loss_param",
    },
    "sfzhang15/FaceBoxes": {
        "types": (
            "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute "
            "PriorBox VideoData"
        ),
        "LayerParameter": (
            "annotated_data_param detection_evaluate_param detection_output_param "
            "multibox_loss_param norm_param permute_param prior_box_param video_data_param"
        ),
        "SolverParameter": "ap_version eval_type plateau_winsize show_per_class_result",
        "TransformationParameter": (
            "crop_h crop_w distort_param emit_constraint expand_param noise_param resize_param"
        ),
    },
    "sfzhang15/RefineDet": {
        "types": (
            "AnnotatedData ArmDetectionOutput DetectionEvaluate DetectionOutput "
            "MultiBoxFocalLoss MultiBoxLoss Normalize Permute PriorBox VideoData"
        ),
        "LayerParameter": (
            "annotated_data_param detection_evaluate_param detection_output_param "
            "multibox_loss_param norm_param permute_param prior_box_param video_data_param"
        ),
        "SolverParameter": "ap_version eval_type plateau_winsize show_per_class_result",
        "TransformationParameter": (
            "crop_h crop_w distort_param emit_constraint expand_param noise_param resize_param"
        ),
    },
    "thuml/transfer-caffe": {
        "types": "MMD",
        "LayerParameter": "mmd_param",
    },
    "tianzhi0549/CTPN": {
        "types": "BN LSTM Lstm Reverse ROIPooling SmoothL1Loss Transpose",
        "DropoutParameter": "scale_train",
        "LayerParameter": (
            "bn_param lstm_param reverse_param roi_pooling_param smooth_l1_loss_param "
            "transpose_param"
        ),
    },
    "torrvision/crfasrnn": {
        "types": "MultiStageMeanfield",
    },
    "tpfister/caffe-heatmap": {
        "types": "DataHeatmap EuclideanLossHeatmap",
        "LayerParameter": "heatmap_data_param visual_meta",
    },
    "weiliu89/caffe (SSD)": {
        "types": (
            "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute "
            "PriorBox VideoData"
        ),
    },
    "unsky/Deformable-ConvNets-caffe": {
        "types": "DeformableConvolution DeformablePSROIPooling",
        "LayerParameter": "deformable_convolution_param deformable_psroi_pooling_param",
    },
    "wenwei202/caffe (SSL)": {
        "ConvolutionParameter": "conv_mode",
        "ParamSpec": "block_group_lasso breadth_decay_mult kernel_shape_decay_mult",
        "SolverParameter": "block_group_decay breadth_decay kernel_shape_decay",
    },
    "VisionLearningGroup/CORAL": {
        "types": "CORALLoss",
    },
    "wy1iu/LargeMargin_Softmax_Loss": {
        "types": "LargeMarginInnerProduct",
        "LayerParameter": "largemargin_inner_product_param",
    },
    "wy1iu/sphereface": {
        "types": "MarginInnerProduct",
        "LayerParameter": "margin_inner_product_param",
    },
    "xiahouzuoxin/caffe_segtask": {
        "types": "BN DenseCRF DomainTransform Interp SegAccuracy",
        "BatchNormParameter": "update_global_stats",
        "ImageDataParameter": "ignore_label label_span label_type",
        "LayerParameter": (
            "bn_param dense_crf_param domain_transform_param interp_param seg_accuracy_param"
        ),
        "TransformationParameter": "crop_height crop_width scale_factors",
    },
    "xialuxi/arcface-caffe": {
        "types": (
            "AnnotatedData BN CenterLoss ChannelScale CombinedMargin CosinAdd DetectionEvaluate "
            "DetectionOutput Flip FocalLoss Interp MarginInnerProduct MultiBoxLoss Normalize "
            "Permute PriorBox PSROIPooling RegionLoss Reorg ROIPooling SmoothL1Loss "
            "SpatialTransformer VideoData"
        ),
        "DataParameter": "side",
        "DropoutParameter": "scale_train",
        "FillerParameter": "file",
        "InnerProductParameter": "normalize",
        "LayerParameter": (
            "annotated_data_param bn_param center_loss_param channel_scale_param "
            "combined_margin_param cosin_add_param detection_evaluate_param "
            "detection_output_param flip_param focal_loss_param interp_param "
            "margin_inner_product_param multibox_loss_param normalize_param permute_param "
            "prior_box_param psroi_pooling_param region_loss_param reorg_param "
            "roi_pooling_param smooth_l1_loss_param st_param video_data_param"
        ),
        "PoolingParameter": "ceil_mode",
        "SolverParameter": "stageiter stagelr",
        "TransformationParameter": (
            "crop_h crop_w distort_param emit_constraint expand_param noise_param resize_param"
        ),
    },
    "xmyqsh/deeplab-v2": {
        "types": "DenseCRF DomainTransform Interp MatRead MatWrite SegAccuracy UniqueLabel",
        "BatchNormParameter": "update_global_stats",
        "ImageDataParameter": "ignore_label label_type",
        "LayerParameter": "dense_crf_param domain_transform_param interp_param seg_accuracy_param",
        "TransformationParameter": "crop_height crop_width scale_factors",
    },
    "xzgz/caffe-ssd": {
        "types": (
            "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute "
            "PriorBox VideoData"
        ),
        "LayerParameter": (
            "annotated_data_param detection_evaluate_param detection_output_param "
            "multibox_loss_param norm_param permute_param prior_box_param video_data_param"
        ),
        "SolverParameter": "ap_version eval_type plateau_winsize show_per_class_result",
        "TransformationParameter": (
            "crop_h crop_w distort_param emit_constraint expand_param noise_param resize_param"
        ),
    },
    "ydwen/caffe-face": {
        "types": "CenterLoss",
        "LayerParameter": "center_loss_param",
    },
    "yeahkun/caffe-yolo": {
        "types": "BoxData DetectionLoss EvalDetection",
        "LayerParameter": "detection_loss_param eval_detection_param",
    },
    "yiwenguo/Dynamic-Network-Surgery": {
        "types": "CConvolution CInnerProduct",
        "LayerParameter": "cconvolution_param cinner_product_param",
    },
    "yjxiong/caffe": {
        "types": "BatchReduction BN ROIPooling SegData VideoData",
        "ConvolutionParameter": "dilation_h dilation_w",
        "DataParameter": "shuffle",
        "LayerParameter": (
            "batch_reduction_param bn_param roi_pooling_param seg_data_param video_data_param"
        ),
        "NetParameter": "mem_param",
        "SolverParameter": "group_id richness",
        "TransformationParameter": (
            "fix_crop is_flow max_distort more_fix_crop multi_scale original_image scale_ratios "
            "stride upper_height upper_size upper_width"
        ),
    },
    "zhaoweicai/cascade-rcnn": {
        "types": "DecodeBBox DetectionEvaluate PSROIPooling ROIPooling SmoothL1Loss",
        "LayerParameter": (
            "decode_bbox_param detection_evaluate_param psroi_pooling_param roi_pooling_param "
            "smooth_l1_loss_param"
        ),
        "PoolingParameter": "ceil_mode",
        "SolverParameter": "ap_version eval_type show_per_class_result",
    },
    "zhaoweicai/mscnn": {
        "types": (
            "BBoxAccuracy BoxGroupOutput BoxIouLoss BoxOutput DecodeBBox DetectionAccuracy "
            "DetectionData DetectionGroupAccuracy DetectionGroupLoss DetectionLoss "
            "ImageDetectionData ProposalTarget ROIPooling SmoothL1Loss"
        ),
        "LayerParameter": (
            "box_output_param decode_bbox_param roi_pooling_param smooth_l1_loss_param"
        ),
    },
    "jyh2986/Active-Shift": {
        "types": "ActiveShift",
    },
    "kevinlin311tw/Caffe-DeepBinaryCode (SSDH)": {
        "types": "K1_EuclideanLoss K2_EuclideanLoss",
    },
    "mjq11302010044/RRPN": {
        "types": "RotateROIPooling",
    },
    "ShuangLi59/person_search": {
        "types": "LabeledMatching UnlabeledMatching",
    },
    "thuml/HashNet": {
        "types": "PairwiseLoss",
    },
    "thuml/Xlearn": {
        "types": "JMMDLoss MMDLoss",
    },
    "tidsp/caffe-jacinto": {
        "types": "IOUAccuracy ImageLabelData",
    },
}


def forks_of(name: str, message: str = "types") -> list[str]:
    """Return the forks that have a layer type, or a field of a message."""
    return [fork for fork, names in ORIGINS.items() if name in names.get(message, "").split()]
