"""Measures this engine beside every other program here that runs the same nets."""
