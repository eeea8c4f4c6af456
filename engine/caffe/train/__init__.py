"""Solvers, and the workers that train together."""
