"""Kills, signals, a full disk, long runs and mutated files (`make torture`)."""
