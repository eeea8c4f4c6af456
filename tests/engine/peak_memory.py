"""The peak of this process's memory over a pass of a net: python peak_memory.py ACTION PROTOTXT.

ACTION is `inference`, or a solver's type for two steps of training. Runs under either Caffe, on
Linux, and prints bytes above those before the net was built.
"""

import os
import re
import sys
import tempfile

import caffe


def peak():
    """Return the largest resident memory so far in bytes."""
    with open("/proc/self/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))


def run(action, path):
    """Run a pass of the net of a prototxt; weights are written so that they take memory."""
    if action == "inference":
        net = caffe.Net(path, caffe.TEST)
        for blobs in net.params.values():
            for blob in blobs:
                blob.data[...] = 0.01
        net.forward()
        return
    with tempfile.TemporaryDirectory() as folder:
        solver = os.path.join(folder, "solver.prototxt")
        text = (
            'net: "{}" type: "{}" base_lr: 1e-9 lr_policy: "fixed" momentum: 0.9 max_iter: 2 '
            'snapshot_after_train: false snapshot_prefix: "{}" random_seed: 1 solver_mode: CPU'
        )
        with open(solver, "w") as file:
            file.write(text.format(path, action, os.path.join(folder, "snap")))
        caffe.get_solver(solver).step(2)


if __name__ == "__main__":
    caffe.set_mode_cpu()
    before = peak()
    run(sys.argv[1], sys.argv[2])
    print(peak() - before)
