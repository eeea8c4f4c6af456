"""The constants that the result of the experiment depends on."""

#: The classifiers, and their width as a share of the published number of channels.
NETS = ("alexnet", "caffenet", "vgg16", "googlenet")
WIDTH = 1.0
#: Crops along each side that are compared with the cast net.
GRID = 3
#: The same for nets without padding, where a crop is the whole receptive field.
BARE_GRID = 2
#: Sizes of a heat map's input, as multiples of the image's size.
SIZES = (1.0, 1.5, 2.0, 3.0)
#: Scenes of the demo's split `test` that are scored, and that are drawn.
SCENES, SHOWN = 60, 4
#: The class of the demo's net that is drawn on the photograph.
PHOTO_CLASS = "cat"
#: Outputs along each side of the timed pass, crops in a batch, and timed passes.
TIMED_GRID, TIMED_BATCH, TIMED_REPEATS = 10, 10, 5
#: Milliseconds of the paper (section 3.1): a 10 x 10 grid of AlexNet's outputs, and a single one.
PAPER_GRID, PAPER_CROP = 22.0, 1.2
