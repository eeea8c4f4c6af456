"""Writes docs/compatibility.md: the agreement with BVLC Caffe and its measured errors.

    python -m oracle.compatibility [--out FILE]

The command runs the golden cases, reads the results of oracle/measure.py from docs/measured.json,
and fills the template page.md.jinja. An error is a share of the largest value of its array. Errors
are rounded up, so that the page is the same on other machines.
"""
