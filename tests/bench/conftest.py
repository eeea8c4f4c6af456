from __future__ import annotations

import caffe
import pytest

from bench import images, nets, prepare

WIDTH = 1 / 16


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The benchmark's files, with 1/16 of the channels and three pictures."""
    caffe.set_mode_cpu()
    root = tmp_path_factory.mktemp("bench")
    prepare.prepare(root, WIDTH, 3)
    return root


@pytest.fixture
def job(folder):
    """A worker's job over that folder: `job(runner, **changes)`."""

    def make(runner="pycaffe", **changes):
        paths = {
            "deploy": "fcn8s.prototxt",
            "solver": "solver.prototxt",
            "val": "val.prototxt",
            "weights": "fcn8s.caffemodel",
            "torch": "fcn8s.pt",
            "onnx": "fcn8s.onnx",
            "pictures": "voc",
            "pictures_solver": "pictures.prototxt",
        }
        settings = {
            "runner": runner,
            "engine": "",
            "precision": "float32",
            "options": {},
            "device": "cpu",
            "threads": 1,
            "solver_settings": nets.SOLVER,
            "warm": 0,
            "least": 2,
            "passes": 2,
            "seconds": 0,
            "images": [images.input_file(folder, "image", (40, 56))],
            "labels": [images.input_file(folder, "label", (40, 56))],
            "count": 3,
        }
        files = {name: str(folder / path) for name, path in paths.items()}
        return {**files, **settings, **changes}

    return make
