"""The constants that the result of the experiment depends on."""

#: The demo's stage, its blob of coarse scores, and its upsampling layer.
VARIANT, BLOB, UP = "voc-fcn32s", "score_fr", "upscore"
#: Scenes of the test split that are scored; those of a dense map; those of 1024 passes.
SCENES, DENSE_SCENES, STITCHED_SCENES = 16, 4, 1
#: The stride in pixels of the maps between the coarse and the dense ones.
PART = 8
#: Iterations in which kernels are learned, and of the control.
ITERS = 200
#: Threads of the measured processes.
THREADS = 1
#: Scenes in the figure.
SHOWN = 3
