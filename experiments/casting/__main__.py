"""The command line of the experiment; see experiments.casting."""

from experiments import casting, running
from experiments.casting.experiment import run

if __name__ == "__main__":
    running.main("casting", run, casting.__doc__)
