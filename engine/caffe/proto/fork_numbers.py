"""The numbers that forks of Caffe gave to fields, for binary files.

Forks number their fields without regard to each other: one number stands for several fields.
binary_nets.py decides by the type of the layer and by the forks that a file can come from.
"""

from __future__ import annotations

#: Field of LayerParameter -> (its numbers, the numbers of the fields inside) of each variant.
PARAMETERS: dict[str, tuple[tuple[tuple[int, ...], str], ...]] = {
    "permute_param": (((172, 202, 224), "order=1"),),
    "prior_box_param": (
        (
            (165, 203),
            (
                "min_size=1 max_size=2 aspect_ratio=3 flip=4 clip=5 variance=6 img_size=7 img_h=8 "
                "img_w=9 step=10 step_h=11 step_w=12 offset=13"
            ),
        ),
        ((203,), "min_size=1 max_size=2 aspect_ratio=3 flip=4 clip=5 variance=6"),
    ),
    "detection_output_param": (
        (
            (204,),
            (
                "num_classes=1 share_location=2 background_label_id=3 nms_param=4 "
                "save_output_param=5 code_type=6 variance_encoded_in_target=8 keep_top_k=7 "
                "confidence_threshold=9 visualize=10 visualize_threshold=11 save_file=12 "
                "objectness_score=24"
            ),
        ),
        (
            (169, 204),
            (
                "num_classes=1 share_location=2 background_label_id=3 nms_param=4 "
                "save_output_param=5 code_type=6 variance_encoded_in_target=8 keep_top_k=7 "
                "confidence_threshold=9 visualize=10 visualize_threshold=11 save_file=12"
            ),
        ),
        (
            (204,),
            (
                "num_classes=1 share_location=2 background_label_id=3 nms_param=4 "
                "save_output_param=5 code_type=6 variance_encoded_in_target=8 keep_top_k=7 "
                "confidence_threshold=9 visualize=10 visualize_threshold=11"
            ),
        ),
        (
            (204,),
            (
                "side=1 num_classes=2 num_box=3 coords=4 confidence_threshold=5 nms_threshold=6 "
                "biases=7 label_map_file=8"
            ),
        ),
    ),
    "norm_param": (
        ((206,), "across_spatial=1 scale_filler=2 channel_shared=3 eps=4"),
        ((134,), "across_spatial=1 scale_filler=2 channel_shared=3 fix_scale=4 eps=5"),
    ),
    "normalize_param": (((170, 214), "normalize_type=1 fix_gradient=2 bp_norm=3"),),
    "annotated_data_param": (
        ((164, 200), "batch_sampler=1 label_map_file=2 anno_type=3"),
        (
            (200,),
            (
                "batch_sampler=1 label_map_file=2 anno_type=3 yolo_data_type=4 yolo_data_jitter=5 "
                "train_diffcult=6 single_class=7 seg_scales=8 seg_resize_width=9 "
                "seg_resize_height=10 difficult_label_warmup=11"
            ),
        ),
        ((200,), "batch_sampler=1 label_map_file=2"),
    ),
    "multibox_loss_param": (
        (
            (201,),
            (
                "loc_loss_type=1 conf_loss_type=2 loc_weight=3 num_classes=4 share_location=5 "
                "match_type=6 overlap_threshold=7 use_prior_for_matching=8 background_label_id=9 "
                "use_difficult_gt=10 do_neg_mining=11 neg_pos_ratio=12 neg_overlap=13 "
                "code_type=14 encode_variance_in_target=16 map_object_to_agnostic=17 "
                "ignore_cross_boundary_bbox=18 bp_inside=19 mining_type=20 nms_param=21 "
                "sample_size=22 use_prior_for_nms=23 objectness_score=24"
            ),
        ),
        (
            (171, 201),
            (
                "loc_loss_type=1 conf_loss_type=2 loc_weight=3 num_classes=4 share_location=5 "
                "match_type=6 overlap_threshold=7 use_prior_for_matching=8 background_label_id=9 "
                "use_difficult_gt=10 do_neg_mining=11 neg_pos_ratio=12 neg_overlap=13 "
                "code_type=14 encode_variance_in_target=16 map_object_to_agnostic=17 "
                "ignore_cross_boundary_bbox=18 bp_inside=19 mining_type=20 nms_param=21 "
                "sample_size=22 use_prior_for_nms=23"
            ),
        ),
        (
            (201,),
            (
                "loc_loss_type=1 conf_loss_type=2 loc_weight=3 num_classes=4 share_location=5 "
                "match_type=6 overlap_threshold=7 use_prior_for_matching=8 background_label_id=9 "
                "use_difficult_gt=10 do_neg_mining=11 neg_pos_ratio=12 neg_overlap=13 "
                "code_type=14 encode_variance_in_target=16 map_object_to_agnostic=17 "
                "ignore_cross_boundary_bbox=18 bp_inside=19 mining_type=20 nms_param=21 "
                "sample_size=22 use_prior_for_nms=23 ignore_difficult_gt=24"
            ),
        ),
        (
            (201,),
            (
                "loc_loss_type=1 conf_loss_type=2 loc_weight=3 num_classes=4 share_location=5 "
                "match_type=6 overlap_threshold=7 use_prior_for_matching=8 background_label_id=9 "
                "use_difficult_gt=10 do_neg_mining=11 neg_pos_ratio=12 neg_overlap=13 "
                "code_type=14 encode_variance_in_target=16 map_object_to_agnostic=17"
            ),
        ),
    ),
    "detection_evaluate_param": (
        (
            (168, 205),
            (
                "num_classes=1 background_label_id=2 overlap_threshold=3 evaluate_difficult_gt=4 "
                "name_size_file=5 resize_param=6"
            ),
        ),
        ((161,), "num_classes=1 overlap_threshold=2 evaluate_difficult_gt=3 name_size_file=4"),
        (
            (205,),
            (
                "num_classes=1 background_label_id=2 overlap_threshold=3 evaluate_difficult_gt=4 "
                "name_size_file=5"
            ),
        ),
        ((203,), "num_classes=1 overlap_threshold=2"),
    ),
    "roi_pooling_param": (
        ((147,), "pooled_h=1 pooled_w=2 spatial_scale=3 pad_ratio=4"),
        ((147, 150, 204, 8266711), "pooled_h=1 pooled_w=2 spatial_scale=3"),
        ((154,), "pooled_h=1 pooled_w=2 spatial_scale=3 pooled_size=4"),
    ),
    "psroi_pooling_param": (
        ((148, 149, 153, 163, 220, 10001), "spatial_scale=1 output_dim=2 group_size=3"),
    ),
    "interp_param": (
        ((143, 153, 162), "height=1 width=2 zoom_factor=3 shrink_factor=4 pad_beg=5 pad_end=6"),
    ),
    "bn_param": (
        (
            (137,),
            ("scale_filler=1 shift_filler=2 var_eps=3 moving_average=4 decay=5 across_spatial=6"),
        ),
        (
            (137, 152, 156, 160, 200),
            "slope_filler=1 bias_filler=2 momentum=3 eps=4 frozen=5 engine=6",
        ),
        ((144,), "scale_filler=1 shift_filler=2 var_eps=3 moving_average=4 decay=5 axis=6"),
        ((45,), "bn_mode=3 scale_filler=1 shift_filler=2"),
    ),
    "upsample_param": (
        ((150,), "scale=1"),
        ((137,), "scale=1 scale_h=2 scale_w=3 pad_out_h=4 pad_out_w=5 upsample_h=6 upsample_w=7"),
    ),
    "reorg_param": (((147, 149, 159, 203), "stride=1 reverse=2"),),
    "proposal_param": (
        (
            (219,),
            (
                "feat_stride=1 base_size=2 min_size=3 ratio=4 scale=5 pre_nms_topn=6 "
                "post_nms_topn=7 nms_thresh=8"
            ),
        ),
    ),
    "smooth_l1_loss_param": (((148, 149, 8266712), "sigma=1"),),
    "transpose_param": (((142, 150, 8266710), "dim=1"),),
    "reverse_param": (((143, 151, 160), "axis=1"),),
    "relu6_param": (((211,), "negative_slope=1 engine=2"),),
    "video_data_param": (
        ((173, 207), "video_type=1 device_id=2 video_file=3 skip_frames=4"),
        (
            (140,),
            (
                "source=1 batch_size=4 rand_skip=7 shuffle=8 new_height=9 new_width=10 "
                "new_length=11 num_segments=12 scale=2 mean_file=3 crop_size=5 mirror=6 "
                "modality=13 name_pattern=14 encoded=15 grayscale=16"
            ),
        ),
        (
            (7777,),
            (
                "source=1 batch_size=4 rand_skip=7 shuffle=8 new_length=9 new_height=10 "
                "new_width=11 is_color=12 root_folder=13"
            ),
        ),
        ((207,), "video_type=1 device_id=2 video_file=3"),
        (
            (6660,),
            (
                "source=1 batch_size=4 rand_skip=7 shuffle=8 new_height=9 new_width=10 "
                "new_length=13 is_color=11 scale=2 mean_file=3 crop_size=5 mirror=6 "
                "root_folder=12 show_data=14 use_image=15 use_temporal_jitter=16 sampling_rate=17 "
                "max_sampling_rate=18 use_sampling_rate_jitter=19 use_multiple_label=20 "
                "num_of_labels=21"
            ),
        ),
    ),
    "unpooling_param": (
        (
            (133,),
            (
                "unpool=1 out_pad=4 out_pad_h=9 out_pad_w=10 out_kernel_size=2 out_kernel_h=5 "
                "out_kernel_w=6 out_stride=3 out_stride_h=7 out_stride_w=8"
            ),
        ),
    ),
    "lstm_param": (
        (
            (140, 201, 8266711),
            "num_output=1 clipping_threshold=2 weight_filler=3 bias_filler=4 batch_size=5",
        ),
    ),
    "ctc_loss_param": (
        (
            (159,),
            (
                "output_delay=1 blank_index=2 preprocess_collapse_repeated=3 ctc_merge_repeated=4 "
                "loss_calculation_t=5"
            ),
        ),
    ),
    "ctc_decoder_param": (((158,), "blank_index=1 ctc_merge_repeated=2"),),
    "margin_inner_product_param": (
        (
            (147, 174, 232),
            (
                "num_output=1 type=2 weight_filler=3 axis=4 base=5 gamma=6 power=7 iteration=8 "
                "lambda_min=9"
            ),
        ),
    ),
    "center_loss_param": (
        ((147, 175), "num_output=1 center_filler=2 axis=3"),
        ((211,), "num_output=1 center_filler=2 axis=3 distance_type=29"),
    ),
    "channel_scale_param": (
        (
            (181, 237),
            (
                "do_forward=1 do_backward_feature=2 do_backward_scale=3 global_scale=4 "
                "max_global_scale=5 min_global_scale=6 init_global_scale=7"
            ),
        ),
    ),
    "flip_param": (((182, 212), "flip_width=1 flip_height=2"),),
    "box_annotator_ohem_param": (((150, 152, 10000), "roi_per_img=1 ignore_label=2"),),
    "yolov3_param": (
        (
            (603,),
            (
                "side=1 num_class=2 num=3 object_scale=4 class_scale=5 noobject_scale=6 "
                "coord_scale=7 thresh=8 anchors_scale=10 biases=11 mask=12 use_logic_gradient=13 "
                "use_focal_loss=14 iou_loss=15 iou_normalizer=16 iou_thresh=17 max_delta=18 "
                "accumulate=19 label_smooth_eps=20"
            ),
        ),
    ),
    "yolov3_detection_output_param": (
        (
            (602,),
            (
                "num_classes=1 num_box=2 confidence_threshold=3 nms_threshold=4 biases=5 "
                "anchors_scale=6 mask_group_num=7 mask=8 gaussian_box=9"
            ),
        ),
    ),
    "yolo_detection_output_param": (
        (
            (601,),
            (
                "side=1 num_classes=2 num_box=3 coords=4 confidence_threshold=5 nms_threshold=6 "
                "biases=7 label_map_file=8"
            ),
        ),
    ),
    "region_loss_param": (
        (
            (202, 209, 600),
            (
                "side=1 num_class=2 bias_match=3 coords=4 num=5 softmax=6 jitter=7 rescore=8 "
                "object_scale=9 class_scale=10 noobject_scale=11 coord_scale=12 absolute=13 "
                "thresh=14 random=15 biases=16 softmax_tree=17 class_map=18"
            ),
        ),
    ),
    "decode_bbox_param": (((155,), "gt_iou_thr=1"),),
    "box_output_param": (
        (
            (151,),
            (
                "fg_thr=1 iou_thr=2 nms_type=3 field_h=4 field_w=5 downsample_rate=6 field_whr=7 "
                "field_xyr=8 max_nms_num=9 max_post_nms_num=10 min_size=11"
            ),
        ),
    ),
    "dense_crf_param": (
        (
            (146, 152),
            (
                "max_iter=1 pos_xy_std=2 pos_w=3 bi_xy_std=4 bi_rgb_std=5 bi_w=6 "
                "output_probability=7"
            ),
        ),
    ),
    "domain_transform_param": (((147,), "num_iter=1 spatial_sigma=2 range_sigma=3 min_weight=4"),),
    "seg_accuracy_param": (((144, 154), "metric=1 ignore_label=2 reset=3"),),
    "mmd_param": (((147,), "kernel_num=1 kernel_mul=2 fix_gamma=3"),),
    "st_param": (
        (
            (302,),
            (
                "transform_type=1 sampler_type=2 output_H=3 output_W=4 to_compute_dU=5 "
                "theta_1_1=6 theta_1_2=7 theta_1_3=8 theta_2_1=9 theta_2_2=10 theta_2_3=11 "
                "debug_info=12"
            ),
        ),
        (
            (148,),
            (
                "transform_type=1 sampler_type=2 output_H=3 output_W=4 to_compute_dU=5 "
                "theta_1_1=6 theta_1_2=7 theta_1_3=8 theta_2_1=9 theta_2_2=10 theta_2_3=11"
            ),
        ),
    ),
    "focal_loss_param": (((155, 235), "type=1 gamma=2 alpha=3 beta=4"),),
    "spatial_dropout_param": (((155,), "dropout_ratio=1"),),
    "local_param": (
        (
            (201,),
            ("num_output=1 bias_term=2 pad=3 kernel_size=4 stride=6 weight_filler=7 bias_filler=8"),
        ),
    ),
    "denseblock_param": (
        (
            (147,),
            (
                "numTransition=1 initChannel=2 growthRate=3 pad_h=4 pad_w=5 conv_verticalStride=6 "
                "conv_horizentalStride=7 filter_H=8 filter_W=9 Filter_Filler=10 "
                "BN_Scaler_Filler=11 BN_Bias_Filler=12 use_dropout=16 dropout_amount=17 use_BC=18 "
                "BC_ultra_space_efficient=19 moving_average_fraction=21"
            ),
        ),
    ),
    "resize_param": (
        ((231,), "height=1 width=2 is_pyramid_test=3 out_height_scale=4 out_width_scale=5"),
    ),
}

#: Message of BVLC's -> the numbers of the fields that forks added to it.
ADDED: dict[str, str] = {
    "PoolingParameter": (
        "avg_include_pad=13 ceil_mode=13 kernel_depth=5 kernel_shape=7778 "
        "kernel_size_3d=16 pad_3d=15 pad_shape=7777 stride_3d=17 stride_shape=7779 "
        "temporal_stride=6 torch_pooling=40"
    ),
    "DropoutParameter": ("sample_weights_test=2 scale_train=2"),
    "ConvolutionParameter": (
        "dilation_h=17 dilation_w=18 filter_stride=16 filter_stride_h=17 "
        "filter_stride_w=18 kernel_depth=6 kernel_shape=7778 negative_slope=20 "
        "pad_shape=7777 relu=19 stride_shape=7779 temporal_pad=12 temporal_stride=8"
    ),
    "BatchNormParameter": (
        "bias_filler=6 bias_filler=8 bias_term=6 disable_mean=4 disable_variance=5 "
        "relu=10 scale_bias=7 scale_filler=5 scale_filler=7 update_global_stats=4 "
        "use_weight_bias=5"
    ),
    "TransformationParameter": (
        "crop_h=8 crop_h=11 crop_h=211 crop_height=10 crop_height=12 crop_w=9 crop_w=12 "
        "crop_w=212 crop_width=9 crop_width=11 cvt_bgr2rgb=31 distort_param=13 distort_param=213 "
        "emit_constraint=10 emit_constraint=210 expand_param=14 expand_param=214 "
        "noise_param=7 noise_param=9 noise_param=209 resize_param=6 resize_param=8 "
        "resize_param=208 scale_factors=8 scale_factors=10 fix_crop=10 "
        "img_rand_resize_lower=10 img_rand_resize_upper=11 interpolation_algo_down=18 "
        "interpolation_algo_up=19 is_flow=14 max_distort=13 "
        "more_fix_crop=15 multi_scale=11 scale_ratios=12"
    ),
    "ImageDataParameter": (
        "ignore_label=15 label_type=16 new_length=11 sampling_rate=14 "
        "short_side=13 use_image=13 use_temporal_jitter=16"
    ),
    "LossParameter": ("class_weighting=4 pre_fixed_normalizer=4 weight_by_label_freqs=3"),
    "InnerProductParameter": ("negative_slope=9 normalize=7 relu=8"),
    "AccuracyParameter": ("denominator=4 min_is_better=4"),
    "FillerParameter": ("diag_val=9"),
}
