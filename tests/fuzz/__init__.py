"""The fuzzer: mutated files for every reader, in processes with limits (`make fuzz`).

A case succeeds, or is refused with one line of a documented type. Anything else fails.
"""
