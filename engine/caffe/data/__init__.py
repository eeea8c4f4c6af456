"""The parts of data layers: databases, reading ahead, decoding and transforming images."""
