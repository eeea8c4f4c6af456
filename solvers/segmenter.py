"""A net that segments pictures of any size: whole, reduced, or in tiles."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_data.readers import read_channels
from net_gen.arguments import check_integer
from solvers import available, device, interface, outputs, tiles
from solvers.interface import Interface, Settings
from solvers.outputs import Head
from solvers.planner import Memory, Planner
from solvers.tiles import Tile
from surgery.cast import read_net

#: The resampling filters, which lie elsewhere in Pillow before 9.1.
FILTERS = getattr(Image, "Resampling", Image)
#: The values of a head that can be kept: those of its blob, or the probability of each class.
VALUES = ("scores", "probabilities")
#: Gives the array that takes the values of a head, from the head and the array's shape.
Store = Callable[[Head, Tuple[int, int, int]], np.ndarray]


class MemoryEndError(RuntimeError):
    """Raised if a pass needs more memory than there is."""


class Segmentation(NamedTuple):
    """What a net says of a picture: a label map (H x W) of each head, and lines of text."""

    labels: Tuple[np.ndarray, ...]
    notes: Tuple[str, ...] = ()


class Segmenter:
    """A trained net, ready for pictures.

    model: the files. net: the pycaffe net. interface: what it reads and gives. values: one of
    `VALUES`, the values of each head that `segment` stores; None stores none.
    """

    def __init__(
        self,
        model: available.Model,
        net: Any,
        description: Interface,
        memory: Memory = Memory(),  # noqa: B008 - immutable
        values: Optional[str] = None,
    ) -> None:
        self.model, self.net, self.interface = model, net, description
        self.values = values
        self._planner = Planner(
            read_net(model.net),
            net,
            [head.output.blob for head in description.heads],
            memory,
            description.channels,
            lambda height, width: self._forward(
                np.zeros((description.channels, height, width), np.float32)
            ),
        )
        if values not in (None, *VALUES):
            raise ValueError(f"values is {values!r}, needs one of {', '.join(VALUES)}")
        if values == "probabilities":
            for head in self.heads:
                outputs.check_probabilities(head.output)

    @property
    def heads(self) -> Tuple[Head, ...]:
        """The maps that the net gives."""
        return self.interface.heads

    def read(self, path: str) -> np.ndarray:
        """Return a picture as the net reads it: H x W x C, 0..255, upright.

        Raises OSError if it is not readable, ValueError if it has other channels than the net,
        MemoryEndError if memory ends.
        """
        try:
            return read_channels(path, self.interface.channels)
        except (OSError, ValueError):
            raise
        except MemoryError:
            raise MemoryEndError(f"{path}: memory ended while the picture was read") from None
        except Exception as error:  # Pillow's decoders raise errors of many types.
            raise OSError(f"{path}: is not a readable image ({error})") from None

    def segment(self, pixels: np.ndarray, store: Optional[Store] = None) -> Segmentation:
        """Return the label maps of a picture, H x W x C, at its own size.

        store: takes the values of each head, N x H x W, where N is the number of channels of the
            blob, or of classes for probabilities.

        A picture whose long side exceeds the interface's `long_side` is reduced, and its values are
        enlarged bilinearly. Raises MemoryEndError if memory ends, ValueError for tiles that do not
        fit the net.
        """
        height, width = pixels.shape[:2]
        notes: List[str] = []
        reduced = self._reduce(pixels, notes)
        try:
            if reduced is pixels:
                canvases = [_Canvas(head, height, width, self.values, store) for head in self.heads]
                self._run(pixels, canvases, notes)
                labels = [canvas.labels for canvas in canvases]
                faulty = [canvas.faulty for canvas in canvases]
            else:
                labels, faulty = self._enlarge(reduced, height, width, store, notes)
        except MemoryError:
            raise MemoryEndError(_remedy(width, height)) from None
        except RuntimeError as error:
            # pycaffe has no type of its own for this.
            if "memory" not in str(error).lower():
                raise
            raise MemoryEndError(_remedy(width, height)) from None
        for head, count in zip(self.heads, faulty):
            if count:
                share = 100 * count / (height * width)
                notes.append(
                    f"warning: {head.output.blob} is not finite at {share:.1f} % of the pixels; "
                    "their labels mean nothing"
                )
        return Segmentation(tuple(labels), tuple(notes))

    def _data(self, pixels: np.ndarray) -> np.ndarray:
        """Return what the net reads, C x H x W, float32: the mean subtracted as data layers do."""
        channels = pixels.transpose(2, 0, 1)
        mean = np.array(self.interface.mean, np.float64)[:, None, None]
        data = np.empty(channels.shape, np.float32)
        np.subtract(channels, mean, out=data, casting="same_kind")
        return data if self.interface.scale == 1 else data * np.float32(self.interface.scale)

    def _reduce(self, pixels: np.ndarray, notes: List[str]) -> np.ndarray:
        height, width = pixels.shape[:2]
        limit = self.interface.long_side
        if not limit or limit >= max(height, width):
            return pixels
        shrink = limit / max(height, width)
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        notes.append(f"reduced from {width} x {height} to {size[0]} x {size[1]} pixels for the net")
        if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
            return np.asarray(Image.fromarray(pixels).resize(size, FILTERS.LANCZOS))
        channels = [_resize(pixels[:, :, c], size, FILTERS.LANCZOS) for c in range(pixels.shape[2])]
        return np.stack(channels, axis=2)

    def _enlarge(
        self,
        reduced: np.ndarray,
        height: int,
        width: int,
        store: Optional[Store],
        notes: List[str],
    ) -> Tuple[List[np.ndarray], List[int]]:
        """Return the label maps of a reduced picture at its own size, and their faulty pixels."""
        rows, columns = reduced.shape[:2]
        arrays: List[np.ndarray] = []

        def keep(_: Head, shape: Tuple[int, int, int]) -> np.ndarray:
            arrays.append(np.empty(shape, np.float32))
            return arrays[-1]

        small = [_Canvas(head, rows, columns, "scores", keep) for head in self.heads]
        self._run(reduced, small, notes)
        labels, faulty = [], []
        for head, values in zip(self.heads, arrays):
            nearest = head.output.meaning == "labels"
            kind = FILTERS.NEAREST if nearest else FILTERS.BILINEAR
            canvas = _Canvas(head, height, width, self.values, store)
            full = slice(0, height), slice(0, width)
            planes = (_resize(plane, (width, height), kind) for plane in values)
            canvas.paint(planes, *full)
            labels.append(canvas.labels)
            faulty.append(canvas.faulty)
        return labels, faulty

    def _run(self, pixels: np.ndarray, canvases: Sequence[_Canvas], notes: List[str]) -> None:
        """Run the net over a picture, H x W x C, whole or in tiles, and paint the canvases."""
        height, width = pixels.shape[:2]
        plan = self._planner.plan(height, width, notes)
        for tile in plan:
            part = self._data(pixels[tile.rows, tile.columns])
            self._forward(part)
            for canvas in canvases:
                values = np.asarray(self.net.blobs[canvas.head.output.blob].data[0])
                if values.shape[1:] != part.shape[1:] and tile is plan[0]:
                    nearest = canvas.head.output.meaning == "labels"
                    kind = "to the nearest index" if nearest else "bilinearly"
                    notes.append(
                        f"{canvas.head.output.blob} is {values.shape[2]} x {values.shape[1]} for "
                        f"{part.shape[2]} x {part.shape[1]} pixels: resized {kind}"
                    )
                planes = outputs.planes(canvas.head, values, part.shape[1], part.shape[2])
                canvas.paint_core(planes, tile)

    def _forward(self, data: np.ndarray) -> None:
        blob = self.net.blobs[self.net.inputs[0]]
        if tuple(blob.shape) != (1, *data.shape):
            blob.reshape(1, *data.shape)
            self.net.reshape()
        blob.data[...] = data
        self.net.forward()


class _Canvas:
    """The label map of a head, and its values where they are stored, filled tile by tile."""

    def __init__(
        self, head: Head, height: int, width: int, values: Optional[str], store: Optional[Store]
    ) -> None:
        self.head = head
        wide = np.uint8 if len(head.output.classes) <= 2**8 else np.uint16
        self.labels = np.zeros((height, width), wide)
        #: The number of pixels whose values are not finite.
        self.faulty = 0
        self._kind = values if store else None
        self._store = store
        self._array: Optional[np.ndarray] = None

    def paint_core(self, planes: Any, tile: Tile) -> None:
        """Fill the core of a tile from the planes of the whole tile."""
        rows = _inside(tile.core_rows, tile.rows)
        columns = _inside(tile.core_columns, tile.columns)
        core = (plane[rows, columns] for plane in planes)
        self.paint(core, tile.core_rows, tile.core_columns)

    def paint(self, planes: Any, rows: slice, columns: slice) -> None:
        """Fill a part of the map from the planes of that part."""
        if self._kind and self._store:
            values = np.stack([np.asarray(plane, np.float32) for plane in planes])
            planes = iter(values)
            if self._kind == "probabilities":
                values = outputs.probabilities(self.head.output, values)
            if self._array is None:
                shape = (len(values), *self.labels.shape)
                self._array = self._store(self.head, shape)
            self._array[:, rows, columns] = values
        labels, faulty = outputs.label_map(self.head.output, planes)
        self.labels[rows, columns] = labels
        self.faulty += faulty


def _inside(core: slice, part: slice) -> slice:
    """Return a core in the coordinates of the part that it lies in."""
    return slice(core.start - part.start, core.stop - part.start)


def _resize(plane: np.ndarray, size: Tuple[int, int], kind: Any) -> np.ndarray:
    """Return a plane at another size (width, height), float32."""
    return np.asarray(Image.fromarray(np.array(plane, np.float32)).resize(size, kind))


def _remedy(width: int, height: int) -> str:
    return (
        f"memory ended with {width} x {height} pixels; --tile 1024 or --memory 2GB segments "
        "large pictures in tiles, --long-side reduces them"
    )


def open_segmenter(
    run: Optional[str] = None,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    variant: Optional[str] = None,
    gpu: device.Gpu = None,
    settings: Optional[Settings] = None,
    tile: Optional[int] = None,
    memory: Optional[str] = None,
    values: Optional[str] = None,
    say: Callable[[str], None] = print,
) -> Segmenter:
    """Return a segmenter of the named net, or of the best one on this machine.

    run, net, weights, variant: as for `available.select_model`. gpu: as for `device.use`. tile,
    memory: a side in pixels, a size such as 2GB. values: as for `Segmenter`. say: prints the lines
    about the engine, the device and the net.

    Raises OSError for a missing file, ValueError for files that do not fit each other.
    """
    Image.MAX_IMAGE_PIXELS = None  # Large pictures of the user's own are no attack.
    if tile is not None and memory is not None:
        raise ValueError(f"tile {tile} and memory {memory} are named: name one of them")
    if tile is not None:
        check_integer("tile", tile)
    limit = None if memory is None else tiles.parse_memory(memory)
    model = available.select_model(variant, net, weights, run=run)
    processor = device.use(gpu)
    say(f"{device.engine()}; runs on {processor}")
    say(str(model))
    loaded = interface.load(model.net, model.weights)
    description = interface.interface_of(model, loaded, settings)
    for note in description.notes:
        say(note)
    limits = Memory(tile, limit, guarded=processor.startswith("the CPU"))
    return Segmenter(model, loaded, description, limits, values)
