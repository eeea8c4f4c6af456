"""Operations of an inference on the CPU that run as one graph of oneDNN.

PyTorch decides again at every call which kernel of oneDNN a convolution uses, which takes 30 to
40 us. TorchScript's fuser for oneDNN Graph decides once for a run of operations, and gives memory
back within the run, so that maps stay in the cache. oneDNN keeps a copy of the weights in its own
order.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Union

import torch

from .. import glog, mode

Call = Callable[..., Any]
Tensors = tuple[torch.Tensor, ...]

_TRACE = getattr(torch._C, "_create_function_from_trace", None)
#: CAFFE_ONEDNN_GRAPH=0 in the environment has every convolution called by itself.
SWITCH = "CAFFE_ONEDNN_GRAPH"
#: The largest difference between the graph and its operations, as a share of the largest value. In
#: bfloat16 a graph rounds fewer of the values on the way.
TOLERANCE = 1e-4
LOW_TOLERANCE = 0.1
#: Why operations as in `_adds_twice` do not become a graph: oneDNN's compiler ends the process.
ADDS_TWICE = "oneDNN cannot compile a second sum that adds a convolution's input to its result"
#: The fuser is switched for the whole process.
_lock = threading.RLock()


class Operation(NamedTuple):
    """One operation: its function, the numbers of the values that it reads, and of its results.

    traced: the function that a graph records, if it is another one. finite: whether the two agree
    only where the sum of their results is finite. aliases: whether the results of `traced` may
    share memory with its arguments. is_sum: whether the result is a sum of maps, such as that of a
    convolution and another map.
    """

    compute: Call
    inputs: Sequence[int]
    outputs: Sequence[int]
    traced: Call | None = None
    finite: bool = False
    aliases: bool = False
    is_sum: bool = False


def available() -> bool:
    """Return whether this PyTorch can run operations as a graph of oneDNN."""
    if os.environ.get(SWITCH) == "0" or sys.version_info >= (3, 14):
        return False
    has_fuser = _TRACE is not None and hasattr(torch.jit, "enable_onednn_fusion")
    return has_fuser and torch.backends.mkldnn.is_available()


class Graph:
    """A function of maps that runs several operations as one graph.

    The graph is compiled at the first call, for maps of the shapes of that call, and again when the
    number of threads has changed. refused: why the operations run one by one instead, or "".

    inputs: the numbers of the values that a call passes. outputs: of those that it returns, as a
    tensor or a tuple of tensors.
    """

    def __init__(
        self, operations: Sequence[Operation], inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        self._operations, self._inputs, self._outputs = operations, inputs, outputs
        self._tolerance = TOLERANCE if mode.low_dtype() == torch.float32 else LOW_TOLERANCE
        last = {value: i for i, operation in enumerate(operations) for value in operation.inputs}
        #: For each operation, the values that none after it reads.
        self._unused: list[list[int]] = [[] for _ in operations]
        for value, i in last.items():
            if value not in outputs:
                self._unused[i].append(value)
        self._compiled: Callable[..., Union[torch.Tensor, Tensors]] | None = None
        self._layouts: list[torch.memory_format] = []
        self._threads = 0
        self._is_checked = any(operation.finite for operation in operations)
        self.refused = ""

    def __call__(self, *xs: torch.Tensor) -> torch.Tensor | Tensors:
        if self._compiled is None or self._threads != torch.get_num_threads():
            return self._compile(xs)
        results = self._compiled(
            *[x.contiguous(memory_format=m) for x, m in zip(xs, self._layouts)]
        )
        return self._checked(results, xs) if self._is_checked else results

    def run_one_by_one(self, *xs: torch.Tensor) -> torch.Tensor | Tensors:
        """Return what the graph returns, computed by PyTorch's own functions."""
        values = dict(zip(self._inputs, xs))
        for operation, unused in zip(self._operations, self._unused):
            _run(operation.compute, operation, values, unused)
        return _unpacked([values[i] for i in self._outputs])

    def _record(self, *xs: torch.Tensor) -> torch.Tensor | Tensors:
        """As `run_one_by_one`, by the functions that a graph records.

        The last result is the sum of the results that need to be finite, if there are any.
        """
        values = dict(zip(self._inputs, xs))
        shared: set[int] = set()
        sums: list[torch.Tensor] = []
        for operation, unused in zip(self._operations, self._unused):
            _run(operation.traced or operation.compute, operation, values, unused)
            if operation.aliases:
                shared.update(operation.outputs)
            if operation.finite:
                sums += [values[i].sum() for i in operation.outputs]
        results = [values[i].clone() if i in shared else values[i] for i in self._outputs]
        return _unpacked([*results, torch.stack(sums).sum()] if sums else results)

    def _checked(
        self, results: torch.Tensor | Tensors, xs: Sequence[torch.Tensor]
    ) -> torch.Tensor | Tensors:
        """Return a graph's results without the sum; run the operations if it is not finite."""
        *maps, total = results
        return _unpacked(maps) if math.isfinite(total) else self.run_one_by_one(*xs)

    def _compile(self, xs: Sequence[torch.Tensor]) -> torch.Tensor | Tensors:
        """Compile the graph for maps of these shapes; return the values for these maps."""
        self._threads = torch.get_num_threads()
        self._layouts = [
            mode.map_layout(x.shape, x.device) if x.dim() == 4 else torch.contiguous_format
            for x in xs
        ]
        xs = tuple(x.contiguous(memory_format=m) for x, m in zip(xs, self._layouts))
        try:
            if _adds_twice(self._operations):
                raise RuntimeError(ADDS_TWICE)
            with _fusing():
                traced = _trace(self._record, xs)
                # TorchScript observes the shapes of the first call and compiles at the second.
                expected, results = traced(*xs), traced(*xs)
                nodes = torch.jit.last_executed_optimized_graph().nodes()
            kinds = {node.kind() for node in nodes}
            self.refused = _reason_against(kinds, expected, results, self._tolerance)
        except (RuntimeError, TypeError) as error:
            self.refused = str(error).splitlines()[0]
        if self.refused:
            glog.write(
                "graphs.py:1",
                f"operations run one by one, not as a oneDNN graph: {self.refused}",
                1,
            )
            self._compiled = self.run_one_by_one
            return self.run_one_by_one(*xs)
        self._compiled = traced
        return self._checked(results, xs) if self._is_checked else results


def _run(
    function: Call, operation: Operation, values: dict[int, torch.Tensor], unused: Sequence[int]
) -> None:
    """Set the values of an operation's results, and drop those that are unused from then on."""
    y = function(*[values[i] for i in operation.inputs])
    results = (y,) if isinstance(y, torch.Tensor) else y
    values.update(zip(operation.outputs, results))
    for value in unused:
        del values[value]


def _unpacked(results: Sequence[torch.Tensor]) -> torch.Tensor | Tensors:
    """Return a single result by itself, several as a tuple."""
    return tuple(results) if len(results) > 1 else results[0]


def _trace(function: Callable[..., Any], xs: Tensors) -> Any:
    """Return the operations of a function as TorchScript.

    `torch.jit.trace` does the same, but first loads 340 modules, which takes 0.4 s and 40 MB.
    """
    assert _TRACE is not None
    return _TRACE("run", function, xs, lambda tensor: "", True, False, [])


def _adds_twice(operations: Sequence[Operation]) -> bool:
    """Return whether what a result is computed from is added to it after another sum.

    With a convolution of x, for example, the result is convolution + y, and the next sum adds x.
    """
    for first in operations:
        x = next(iter(first.inputs), None)
        for second in _readers(first, operations):
            if first.is_sum and second.is_sum and x in second.inputs:
                return True
            has_sum = first.is_sum or second.is_sum
            thirds = _readers(second, operations) if has_sum else []
            if any(third.is_sum and x in third.inputs for third in thirds):
                return True
    return False


def _readers(operation: Operation, operations: Sequence[Operation]) -> list[Operation]:
    """Return the operations that read a result of an operation."""
    results = set(operation.outputs)
    return [other for other in operations if not results.isdisjoint(other.inputs)]


def _reason_against(
    kinds: set[str],
    expected: torch.Tensor | Tensors,
    results: torch.Tensor | Tensors,
    tolerance: float,
) -> str:
    """Return why a compiled graph with nodes of these kinds cannot be used, or ""."""
    if "prim::oneDNNFusionGuard" not in kinds:
        return "TorchScript has fused nothing"
    if not _agree(expected, results, tolerance):
        return "its results differ from those of its operations"
    return ""


@contextmanager
def _fusing() -> Iterator[None]:
    """Have TorchScript compile for oneDNN Graph."""
    with _lock:
        before = torch.jit.onednn_fusion_enabled()
        torch.jit.enable_onednn_fusion(True)
        try:
            yield
        finally:
            torch.jit.enable_onednn_fusion(before)


def _agree(
    expected: torch.Tensor | Tensors, results: torch.Tensor | Tensors, tolerance: float
) -> bool:
    """Return whether tensors are equal up to rounding; NaN and infinity are not compared."""
    if isinstance(expected, torch.Tensor):
        expected, results = (expected,), (results,)  # type: ignore[assignment]
    for a, b in zip(expected, results):
        if a.shape != b.shape:
            return False
        size, difference = float(a.abs().max()), float((a - b).abs().max())
        if difference > tolerance * size:
            return False
    return True
