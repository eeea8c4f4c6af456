"""Measures this engine beside every other program on this machine that runs the same nets."""

from fcn_common.places import refuse_strict_mode

refuse_strict_mode(__name__)
