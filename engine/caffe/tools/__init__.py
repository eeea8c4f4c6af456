"""Caffe's command-line tools, a module for each: `python -m caffe.tools.NAME`.

The modules `train`, `test`, `time` and `device_query` are the actions of `python -m caffe`.
"""
