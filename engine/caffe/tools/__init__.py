"""Caffe's command-line tools, a module each: `python -m caffe.tools.NAME`."""
