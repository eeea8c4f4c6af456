"""Random nets in BVLC Caffe and in the engine: the numbers agree, or both refuse the net.

    python -m oracle.random_nets --count 2000 --seed 0

The seed and the number of a net determine the net. Two of three nets are valid by construction.
The third is a valid net with one or two changes, which mostly make it invalid. Every blob and
parameter, data and gradient, has to agree to 1e-5 of the largest value of its array.

Some nets are more sensitive than that: they contain a difference of nearly equal numbers, a maximum
that is nearly a tie, or a value next to a kink. For such a net the engine runs again with weights,
inputs and results that differ by a few roundings. The error may be up to four times the largest
change that the roundings make. The summary says how many nets needed this.
"""
