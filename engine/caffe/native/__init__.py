"""The C library of the engine, and the operations on small arrays that it computes.

`library.py` loads the library where it is installed. `instructions.py` has the operations, as calls
without arguments: NumPy computes them one by one. `link` joins successive operations into one call
of the library.
"""
