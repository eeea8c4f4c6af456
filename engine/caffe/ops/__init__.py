"""Functions of tensors that layers compute with."""
