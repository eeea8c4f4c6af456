"""What data layers read: databases, records ahead of time, transformed images."""
