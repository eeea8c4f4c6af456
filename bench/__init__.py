"""Measures this engine beside every other program on this machine that runs the same nets."""
