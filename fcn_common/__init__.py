"""What every package of the project shares: no caffe, no torch, Python 3.9 and later."""
