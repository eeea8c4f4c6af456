"""A command line with a mistake ends with one error line."""

from __future__ import annotations

import pytest
from caffe import classify, detect
from caffe.inspect import command as inspector
from caffe.tools import export as caffe_export

from fcn_common import arguments
from fcn_data.__main__ import main as fcn_data_main
from net_gen.__main__ import main as net_gen_main
from solvers import infer, train
from surgery.__main__ import main as surgery_main


@pytest.mark.parametrize(
    "main, mistake, line",
    [
        (train.main, ["a", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (infer.main, [], "the following arguments are required: image"),
        (fcn_data_main, ["join", "a"], "the following arguments are required: --out"),
        (net_gen_main, ["--option"], "unrecognized arguments: --option"),
        (surgery_main, ["a", "b", "c", "d", "e\x1b\n"], r"unrecognized arguments: e\x1b"),
        (inspector.main, ["a", "--json", "--csv"], "argument --csv: not allowed with argument"),
        (caffe_export.main, ["--to", "x"], "argument --to: invalid choice: 'x'"),
        (classify.main, ["a"], "the following arguments are required: output_file"),
        (detect.main, ["a"], "the following arguments are required: output_file"),
    ],
)
def test_a_mistake_in_a_command_line_is_one_line(main, mistake, line, capsys):
    with pytest.raises(SystemExit) as end:
        main(mistake)
    error = capsys.readouterr().err
    assert end.value.code == arguments.MISUSED
    assert error.startswith(f"error: {line}") and error.endswith(" --help shows the options\n")
    assert len(error.splitlines()) == 1
