"""FCN-8s and the nets that learn, written plainly in PyTorch (plain_fcn.py, plain_learner.py)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Dict, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from bench import plain_learner
from bench.learners import LEARNERS, with_outputs
from bench.plain_fcn import FCN8s, optimizer
from bench.runners.base import BaseRunner
from fcn_common import voc

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
#: Passes before a CUDA graph is captured, as PyTorch's documentation asks for.
CAPTURE_WARM_UP = 3


class Runner(BaseRunner):
    """PyTorch.

    Options: layout, "channels_last" or nothing; graph, whether each size's pass is captured as a
    CUDA graph.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        super().__init__(job)
        self.options = job["options"]
        self.device, self.dtype = torch.device(job["device"]), DTYPES[job["precision"]]
        torch.set_num_threads(job["threads"])
        torch.backends.cuda.matmul.allow_tf32 = job["precision"] == "tf32"
        torch.backends.cudnn.allow_tf32 = job["precision"] == "tf32"
        last = self.options.get("layout") == "channels_last"
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.graphs: Dict[Any, Any] = {}

    def version(self) -> str:
        return f"PyTorch {torch.__version__}"

    def load(self) -> None:
        self.model = self._model().to(self.dtype).eval().requires_grad_(False)

    def _model(self) -> FCN8s:
        state = torch.load(self.job["torch"], mmap=True, weights_only=True)
        with torch.device("meta"):
            model = FCN8s(width=state["conv1_1.weight"].shape[0] / 64)
        model.load_state_dict(state, assign=True)
        return model.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]

    def place(self, image: np.ndarray) -> None:
        x = torch.from_numpy(image).to(self.device, self.dtype)
        self.image = x.contiguous(memory_format=self.layout)

    def run(self) -> None:
        with torch.inference_mode():
            self.top = self._replay() if self.options.get("graph") else self.model(self.image)

    def _replay(self) -> torch.Tensor:
        """Return the scores by the graph of the image's size, which is captured at first."""
        size = tuple(self.image.shape)
        if size not in self.graphs:
            static, stream = self.image.clone(), torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(CAPTURE_WARM_UP):
                    self.model(static)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                top = self.model(static)
            self.graphs[size] = graph, static, top
        graph, static, top = self.graphs[size]
        static.copy_(self.image)
        graph.replay()
        return top

    def scores(self) -> np.ndarray:
        return self.top.float().cpu().numpy()

    def prepare_training(self, image: np.ndarray, label: np.ndarray) -> None:
        self.net: torch.nn.Module = self._model().train()
        solver = self.job["solver_settings"]
        self.optimizer = optimizer(
            self.net, solver["base_lr"], solver["momentum"], solver["weight_decay"]
        )
        x = torch.from_numpy(image).to(self.device)
        self.image = x.contiguous(memory_format=self.layout)
        self.label = torch.from_numpy(label[:, 0].astype(np.int64)).to(self.device)
        self.reduction = "sum"

    def prepare_learning(self, data: np.ndarray, labels: np.ndarray) -> None:
        state = torch.load(self.job["torch"], weights_only=True)
        outputs = {name[: -len(".bias")]: len(b) for name, b in state.items() if b.dim() == 1}
        self.net = plain_learner.model(with_outputs(LEARNERS[self.job["net"]], outputs))
        self.net.load_state_dict(state)
        self.net.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = plain_learner.optimizer(list(self.net.parameters()))
        self.image = torch.from_numpy(data).to(self.device)
        self.label = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        self.reduction = "mean"

    def step(self) -> None:
        low = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype) if low else nullcontext():
            scores = self.net(self.image)
        loss = F.cross_entropy(
            scores.float(), self.label, ignore_index=voc.IGNORE_LABEL, reduction=self.reduction
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def parameters(self, names: Sequence[str]) -> Dict[str, np.ndarray]:
        layers = dict(self.net.named_modules())
        return {n: layers[n].weight.detach().float().cpu().numpy().copy() for n in names}
