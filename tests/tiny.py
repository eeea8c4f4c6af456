"""A data set of a few small pictures in the layouts of SBD and VOC, and nets of 1/16 the width.

Runs under either Caffe, with Python 3.9 and without pytest.
"""

import os

import numpy as np
from PIL import Image
from scipy.io import savemat

import net_gen
import surgery
from fcn_common.files import write_text
from fcn_common.voc import IGNORE_LABEL
from solvers import chain

WIDTH = 1 / 16
#: Number of images in the splits train and seg11valid.
TRAIN, VAL = 3, 2


def data(root, classes=21, seed=0):
    """Write root/sbdd and root/voc, and return the two folders."""
    rng = np.random.RandomState(seed)
    sbdd, voc = os.path.join(root, "sbdd"), os.path.join(root, "voc")
    folders = ("sbdd/img", "sbdd/cls", "voc/JPEGImages", "voc/SegmentationClass")
    for folder in (*folders, "voc/ImageSets/Segmentation"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for split, count in (("train", TRAIN), ("val", VAL)):
        names = [f"{split}{i}" for i in range(count)]
        for i, name in enumerate(names):
            photo, label = _picture(rng, 24 + 8 * (i % 2), 32, classes)
            if split == "train":
                Image.fromarray(photo).save(os.path.join(sbdd, "img", name + ".jpg"))
                record = np.zeros((1,), dtype=[("Segmentation", object)])
                record[0]["Segmentation"] = label
                savemat(os.path.join(sbdd, "cls", name + ".mat"), {"GTcls": record})
            else:
                Image.fromarray(photo).save(os.path.join(voc, "JPEGImages", name + ".jpg"))
                path = os.path.join(voc, "SegmentationClass", name + ".png")
                Image.fromarray(label).save(path)
        path = os.path.join(sbdd, "train.txt")
        if split == "val":
            path = os.path.join(voc, "ImageSets", "Segmentation", "seg11valid.txt")
        write_text(path, "".join(name + "\n" for name in names))
    return sbdd, voc


def _picture(rng, height, width, classes):
    """Draw a photograph (H x W x 3) and its label (H x W): one rectangle with an ignored rim."""
    label = np.zeros((height, width), np.uint8)
    label[4:16, 6:20] = 1 + rng.randint(classes - 1)
    label[16, 6:20] = IGNORE_LABEL
    photo = (rng.rand(height, width, 3) * 60 + 9 * label[..., None] % 190).astype(np.uint8)
    return photo, label


def nets(folder, root, variant="voc-fcn32s", **solver):
    """Write the prototxts of a variant over `data(root)` into `folder`, and return it.

    `solver` are fields of solver.prototxt.
    """
    fields = {"max_iter": 4, "snapshot": 2, "base_lr": 1e-6, "momentum": 0.9, "display": 1}
    net_gen.generate(
        variant,
        folder,
        dict(fields, test_iter=[VAL], **solver),
        width=WIDTH,
        dropout=0,
        sbdd_dir=os.path.relpath(os.path.join(root, "sbdd"), folder),
        voc_dir=os.path.relpath(os.path.join(root, "voc"), folder),
    )
    return folder


def classifier(folder, size=64, classes=21, seed=1):
    """Write a VGG16 of random weights, and return its prototxt and its caffemodel."""
    os.makedirs(folder, exist_ok=True)
    prototxt = os.path.join(folder, "vgg16.prototxt")
    net = chain.with_fillers(net_gen.vgg16("deploy", classes, WIDTH, size=size), "msra")
    net_gen.write(net, prototxt)
    weights = os.path.join(folder, "vgg16.caffemodel")
    chain.random_weights(prototxt, weights, seed)
    return prototxt, weights


def start(folder, root):
    """Write the weights of the first stage (a random classifier, cast), and return their path."""
    out = os.path.join(folder, "start.caffemodel")
    if not os.path.exists(out):
        deploy = os.path.join(nets(os.path.join(folder, "cast"), root), "deploy.prototxt")
        prototxt, weights = classifier(folder)
        surgery.cast(prototxt, weights, deploy, out)
    return out
