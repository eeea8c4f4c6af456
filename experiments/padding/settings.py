"""The constants that the result of the experiment depends on."""

#: Scenes of the demo's split `test` that are scored, and that are drawn.
SCENES, SHOWN = 20, 3
#: Pixels at this distance or more from every border are also scored by themselves.
BORDER = 48
#: The timed nets, their width as a share of the published number of channels, the size of their
#: image (the long side of VOC's photographs), and the number of timed passes.
TIMED_NETS = ("voc-fcn8s", "voc-fcn-alexnet", "voc-fcn-googlenet8s")
TIMED_WIDTH, TIMED_SIZE, TIMED_REPEATS = 1 / 4, 500, 2
#: The drawing of blobs over an image: the net, the size of the image, and the blobs.
DRAWN_NET, DRAWN_SIZE = "voc-fcn32s", 224
DRAWN_BLOBS = ("data", "pool3", "pool4", "pool5", "score_fr", "upscore", "score")
#: The drawing of a net's head, in the same terms.
HEAD_NET, HEAD_SIZE = "voc-fcn8s", 96
HEAD_BLOBS = (
    *("score_fr", "upscore2", "score_pool4", "score_pool4c", "upscore_pool4", "score_pool3"),
    *("score_pool3c", "upscore8", "score", "data"),
)
#: The largest padding in the drawing of the smallest inputs, in pixels.
LARGEST_PAD = 110
