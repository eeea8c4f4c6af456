"""BVLC Caffe as the reference: its installer, the golden cases, the recorder and comparisons."""

from fcn_common.places import refuse_strict_mode

refuse_strict_mode(__name__)
