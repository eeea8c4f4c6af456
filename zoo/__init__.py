"""The zoo: layers and nets of Caffe's forks, built with random weights and compared.

`zoo.layers` has a case for each layer of a fork, compared with OpenCV where it knows the layer, and
with a second implementation in NumPy. `zoo.nets` has a generator for each kind of net, written with
NetSpec alone. `make zoo` runs all of them; `python -m zoo.page` writes docs/forks.md.
"""

from fcn_common.places import refuse_strict_mode

refuse_strict_mode(__name__)
