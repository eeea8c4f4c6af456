"""Kills, signals, a full disk and mutated files (`make torture`)."""
