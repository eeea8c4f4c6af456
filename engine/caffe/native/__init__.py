"""Operations on small arrays, which run one by one in NumPy or many in one call of a C library.

`instructions.py` has the operations, as calls without arguments. `link` joins those that follow
each other to one call of the library, which `library.py` loads where it is installed.
"""
