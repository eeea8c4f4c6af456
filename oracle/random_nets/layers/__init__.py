"""A function for each layer type adds the layer to a draft, with fields that fit the blobs."""
