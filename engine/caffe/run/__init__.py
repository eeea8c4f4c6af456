"""How a net's passes are run."""
