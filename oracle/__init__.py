"""Real BVLC Caffe as the reference: its installer, and the recorder of golden numbers."""
