"""One file a program: how it loads FCN-8s, runs it, and trains it.

Each file has a class `Runner(job)` with

    version()       -> the program and its version, in words
    load()          reads the net and its weights from files
    place(image)    hands over the input, 1 x 3 x H x W, float32
    run()           one pass forward
    scores()        -> the scores of the last pass, 1 x 21 x H x W, float32
    prepare_training(image, label), step(), parameters(names) where it trains
    prepare_pictures(), train_on_pictures(iterations) where it reads files, too

`job` is a dict: deploy, solver, val, weights, torch, onnx (paths), threads, device, precision,
options, and solver_settings.
"""
