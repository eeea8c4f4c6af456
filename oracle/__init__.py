"""BVLC Caffe as the reference: its installer, the golden cases, the recorder and comparisons."""
