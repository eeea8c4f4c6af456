"""The tables of docs/inspect.md: print them with `python -m tests.engine.inspect_docs`."""

from __future__ import annotations

from caffe.inspect import inspect_net, markdown, parse_inputs
from caffe.inspect.tables import crop_table, layer_table, total_table

#: The columns that the document shows.
COLUMNS = (
    *("layer", "type", "shape", "kernel", "stride px", "field px", "first at px", "map"),
    *("parameters", "multiply-adds", "memory", "lr / decay"),
)


def fcn8s_table() -> str:
    """Return the document's tables of FCN-8s: layers, crops, sums."""
    report = inspect_net("voc-fcn8s", parse_inputs(["375x500"]))
    head, lines = layer_table(report.rows)
    columns = [head.index(name) for name in COLUMNS]
    layers = markdown([head[i] for i in columns], [[line[i] for i in columns] for line in lines])
    crops = markdown(*crop_table(report.crops))
    return "\n".join([layers, crops, markdown(*total_table(report.totals))])


if __name__ == "__main__":
    print(fcn8s_table(), end="")
