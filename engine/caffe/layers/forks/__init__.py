"""The layers that forks of Caffe added, one family a file."""
