"""Write the prototxts of this folder: `python net.py`."""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(FOLDER))

from fcn_common import command

command.require_caffe()

import net_gen

if __name__ == "__main__":
    command.run(lambda: net_gen.generate(os.path.basename(FOLDER), FOLDER))
