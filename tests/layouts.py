"""Small data sets in the published layouts of PASCAL-Context, SIFT Flow and NYUDv2."""

import numpy as np
from PIL import Image
from scipy.io import savemat

HEIGHT, WIDTH = 20, 28
#: Ids of the images that train and of those that are scored.
TRAIN, VAL = ("a1", "a2", "a3"), ("b1", "b2")
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def photograph(seed):
    """A smooth RGB image, so that JPEG changes little of it."""
    coarse = np.random.RandomState(seed).randint(0, 256, (HEIGHT // 4, WIDTH // 4, 3))
    return np.uint8(coarse.repeat(4, 0).repeat(4, 1))


def label_map(seed, low, high, kind=np.uint8):
    return np.random.RandomState(seed).randint(low, high + 1, (HEIGHT, WIDTH)).astype(kind)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def save_mat(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays)


def write_list(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))


def pascal_context(root, frequent):
    """Write root/pascal-context and root/pascal, with the published names in `labels.txt`.

    frequent: the names of the 59 classes. Their numbers among the 459 are 3, 10, 17, ...
    """
    among_459 = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
    names = [f"other {number}" for number in range(1, 460)]
    for k, name in enumerate(frequent):
        names[2 + 7 * k] = among_459.get(name, name)
    context = root / "pascal-context"
    write_list(context / "labels.txt", [f"{k}: {name}" for k, name in enumerate(names, 1)])
    write_list(context / "59_labels.txt", [f"{k}: {name}" for k, name in enumerate(frequent, 1)])
    voc = root / "pascal" / "VOC2010"
    for seed, idx in enumerate((*TRAIN, *VAL)):
        save(voc / "JPEGImages" / f"{idx}.jpg", photograph(seed))
        labels = label_map(seed, 1, 459, np.uint16)
        save_mat(context / "trainval" / f"{idx}.mat", LabelMap=labels)
    for split, ids in (("train", TRAIN), ("val", VAL)):
        write_list(voc / "ImageSets" / "Main" / f"{split}.txt", ids)
    return {"context_dir": str(context), "voc_dir": str(root / "pascal")}


def sift_flow(root):
    """Write root/sift-flow."""
    folder = root / "sift-flow"
    for seed, idx in enumerate((*TRAIN, *VAL)):
        save(folder / "Images" / SCENES / f"{idx}.jpg", photograph(seed))
        sem, geo = label_map(seed, 0, 33), label_map(seed, 1, 3, np.int16)
        geo[sem == 5] = -1
        save_mat(folder / "SemanticLabels" / SCENES / f"{idx}.mat", S=sem)
        save_mat(folder / "GeoLabels" / SCENES / f"{idx}.mat", S=geo)
    write_list(folder / "trainval.txt", TRAIN)
    write_list(folder / "test.txt", VAL)
    return {"siftflow_dir": str(folder)}


def nyud(root):
    """Write root/nyud."""
    folder = root / "nyud"
    for seed, idx in enumerate((*TRAIN, *VAL)):
        save(folder / "data" / "images" / f"img_{idx}.png", photograph(seed))
        save(folder / "data" / "hha" / f"img_{idx}.png", photograph(100 + seed))
        depth = label_map(200 + seed, 600, 9000, np.uint16)
        save(folder / "data" / "depth" / f"img_{idx}.png", depth)
        save_mat(folder / "segmentation" / f"img_{idx}.mat", segmentation=label_map(seed, 0, 40))
    write_list(folder / "trainval.txt", TRAIN)
    write_list(folder / "test.txt", VAL)
    return {"nyud_dir": str(folder)}
