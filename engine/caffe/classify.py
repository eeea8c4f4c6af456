"""`python -m caffe.classify`: class scores of images, with the arguments of BVLC's classify.py."""

from __future__ import annotations

import argparse
import glob
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from . import files, io, mode
from .arguments import Parser
from .classifier import Classifier
from .errors import CaffeError, FileError, UsageError

#: Folders of a Caffe checkout, from which a command without these options is run.
MODEL = "models/bvlc_reference_caffenet/deploy.prototxt"
WEIGHTS = "models/bvlc_reference_caffenet/bvlc_reference_caffenet.caffemodel"
MEAN = "python/caffe/imagenet/ilsvrc_2012_mean.npy"


def add_options(parser: argparse.ArgumentParser, model: str, weights: str) -> None:
    """Add the options about the net and its preprocessing, with these defaults."""
    add = parser.add_argument
    add("--model_def", default=model, help="Model definition file.")
    add("--pretrained_model", default=weights, help="Trained model weights file.")
    add("--gpu", action="store_true", help="Switch for gpu computation.")
    add("--mean_file", default=MEAN, help="Data set image mean of [Channels x Height x Width].")
    add("--input_scale", type=float, help="Multiply input features by this scale.")
    add("--raw_scale", type=float, default=255.0, help="Multiply raw input by this scale.")
    add("--channel_swap", default="2,1,0", help="Order to permute input channels.")


def preprocessing(options: argparse.Namespace) -> dict[str, object]:
    """Set the mode, and return the arguments of a Classifier or a Detector.

    Raises FileError for the mean, UsageError for the channel swap.
    """
    mean = read_mean(options.mean_file) if options.mean_file else None
    swap = None
    if options.channel_swap:
        swap = read_integers("--channel_swap", options.channel_swap, "the channels, such as 2,1,0")
    if options.gpu:
        mode.set_mode_gpu()
    else:
        mode.set_mode_cpu()
    print("GPU mode" if options.gpu else "CPU mode")
    return {
        "mean": mean,
        "input_scale": options.input_scale,
        "raw_scale": options.raw_scale,
        "channel_swap": swap,
    }


def read_integers(option: str, text: str, need: str) -> list[int]:
    """Return the integers of an option, which commas separate. Raises UsageError."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: needs {need}") from None


def read_dims(text: str) -> list[int]:
    """Return height and width from `--images_dim`. Raises UsageError."""
    need = "height,width of the images, such as 256,256"
    dims = read_integers("--images_dim", text, need)
    if len(dims) != 2 or min(dims) < 1:
        raise UsageError(f"--images_dim {text}: needs {need}")
    return dims


def error_text(error: Exception) -> str:
    """Return the text of an error in one line, with the file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def _reason(error: Exception, path: str) -> str:
    """Return the text of an error in one line, without the file in front."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def check_folder(path: str) -> None:
    """Raise FileError where an output file's folder is missing or read-only, before any work."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileError(f"{path}: cannot be written, because {folder} is not a folder; make it")
    if not os.access(folder, os.W_OK):
        raise FileError(f"{path}: cannot be written, because {folder} is read-only; name another")


def read_mean(path: str) -> np.ndarray:
    """Return the array of a .npy file. Raises FileError."""
    try:
        return np.load(path)
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path}: cannot be read as a mean ({_reason(error, path)}); name a .npy file "
            "with --mean_file, or leave the mean out with --mean_file ''"
        ) from None


def read_inputs(path: str, extension: str) -> list[np.ndarray]:
    """Return the images of a .npy file, of a folder or of an image file. Raises FileError."""
    try:
        if path.endswith("npy"):
            print(f"Loading file: {path}")
            return list(np.load(path))
        if os.path.isdir(path):
            print(f"Loading folder: {path}")
            names = sorted(glob.glob(f"{path}/*.{extension}"))
        else:
            print(f"Loading file: {path}")
            names = [path]
        images = [io.load_image(name) for name in names]
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: cannot be read: {_reason(error, path)}") from None
    if not images:
        raise FileError(f"{path}: has no *.{extension}; name the extension with --ext")
    return images


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on a command line (sys.argv if None); return the exit status."""
    parser = Parser(prog="python -m caffe.classify", description=__doc__)
    parser.add_argument("input_file", help="Input image, directory, or npy.")
    parser.add_argument("output_file", help="Output npy filename.")
    add_options(parser, MODEL, WEIGHTS)
    add = parser.add_argument
    add("--center_only", action="store_true", help="Predict the center crop alone.")
    add("--images_dim", default="256,256", help="Canonical 'height,width' of the images.")
    add("--ext", default="jpg", help="Image file extension in a directory.")
    options = parser.parse_args(argv)
    try:
        check_folder(options.output_file)
        dims = read_dims(options.images_dim)
        settings = preprocessing(options)
        net = Classifier(
            options.model_def,
            options.pretrained_model,
            image_dims=dims,
            **settings,  # type: ignore[arg-type]
        )
        inputs = read_inputs(os.path.expanduser(options.input_file), options.ext)
        print(f"Classifying {len(inputs)} inputs.")
        start = time.time()
        predictions = net.predict(inputs, not options.center_only)
        print(f"Done in {time.time() - start:.2f} s.")
        print(f"Saving results into {options.output_file}")
        # NumPy adds the suffix to a path, and nothing to an open file.
        path = options.output_file
        with files.atomic(path if path.endswith(".npy") else path + ".npy") as file:
            np.save(file, predictions)
    except (CaffeError, OSError, ValueError) as error:  # the Transformer raises ValueError
        print(f"error: {error_text(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
