"""One file a program, each with a class `Runner` (see `bench.runners.base`)."""
