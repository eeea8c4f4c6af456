"""Scripts as people wrote them for pycaffe from 2014 to 2018, on drawn data.

Each runs in an empty folder under BVLC Caffe and under the engine (tests/oracle/test_old_scripts.py).
The text that they print has to be the same. The numbers in out.npz have to agree.
"""
