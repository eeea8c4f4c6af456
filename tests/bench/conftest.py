from __future__ import annotations

import pytest

WIDTH = 1 / 16


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """What the benchmark runs on, at 1/16 of the width and with three pictures."""
    import caffe

    from bench import prepare

    caffe.set_mode_cpu()
    root = tmp_path_factory.mktemp("bench")
    prepare.prepare(root, WIDTH, 3)
    return root


@pytest.fixture
def job(folder):
    """A worker's job over that folder: `job(runner, **changes)`."""
    from bench import prepare

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
        how = {
            "runner": runner,
            "precision": "float32",
            "options": {},
            "device": "cpu",
            "threads": 1,
            "solver_settings": prepare.SOLVER,
            "warm": 0,
            "least": 2,
            "passes": 2,
            "seconds": 0,
            "images": [prepare.input_file(folder, "image", (40, 56))],
            "labels": [prepare.input_file(folder, "label", (40, 56))],
            "count": 3,
        }
        return {**{name: str(folder / path) for name, path in paths.items()}, **how, **changes}

    return make
