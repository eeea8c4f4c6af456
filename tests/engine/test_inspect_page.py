"""The inspector's page: the layout of its graph, folded blocks, and its offline HTML."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess

import caffe
import pytest
from caffe import __main__ as caffe_command
from caffe.inspect import blob_rows, find_problems, html_page, inspect_net
from caffe.inspect.blocks import folded_graph, layer_graph
from caffe.inspect.layout import draw_layers
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from tests.engine.drawn_nets import resnet, two_trunks
from tests.engine.nets import SCORER, write

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NETS = {
    "skips": net_gen.fcn("voc-fcn8s", "deploy", width=1 / 16),
    "inception": net_gen.googlenet("deploy", width=1 / 8),
    "trunks": two_trunks(),
    "residual": resnet(units=(2, 3, 2, 2)),
}


@pytest.fixture(params=NETS)
def report(request):
    return inspect_net(NETS[request.param])


def test_boxes_do_not_overlap_and_edges_lead_downwards(report):
    graph = layer_graph(report.net)
    sizes = [(100.0 + 10 * (n % 5), 30.0 + 5 * (n % 3)) for n in range(len(graph.nodes))]
    drawing = draw_layers(sizes, [(a, b) for a, b, _ in graph.edges])
    boxes = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), (w, h) in zip(drawing.centres, sizes)
    ]
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and top >= 0 and right <= drawing.width and bottom <= drawing.height
        for other in boxes[:i]:
            beside = other[2] <= left or right <= other[0]
            assert beside or other[3] <= top or bottom <= other[1]
    for (a, b, _), points in zip(graph.edges, drawing.routes):
        assert points[0] == (drawing.centres[a][0], boxes[a][3])
        assert points[-1] == (drawing.centres[b][0], boxes[b][1])
        heights = [y for _, y in points]
        assert heights == sorted(heights)


def test_an_edge_over_several_layers_passes_beside_the_boxes():
    drawing = draw_layers([(50.0, 20.0)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    left, right = drawing.centres[1][0] - 25, drawing.centres[1][0] + 25
    inner = [x for x, y in drawing.routes[3] if abs(y - drawing.centres[1][1]) <= 10]
    assert inner and all(x < left or x > right for x in inner)


def test_an_empty_graph_has_an_empty_drawing():
    assert draw_layers([], []).routes == []


def test_layers_in_place_share_a_box_with_the_layer_before():
    graph = layer_graph(inspect_net(text_format.Parse(SCORER, caffe_pb2.NetParameter())).net)
    assert [[p.name for p in node.parts] for node in graph.nodes] == [
        *(["data"], ["conv", "relu"], ["pool"], ["score"]),
    ]


def test_inception_modules_are_folded():
    graph = folded_graph(inspect_net(NETS["inception"]).net)
    titles = [node.title for node in graph.nodes if node.repeats]
    assert titles == [
        f"inception_{m}" for m in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    ]


def test_equal_residual_units_become_one_box():
    report = inspect_net(resnet())
    layers = sum(row.type in ("Convolution", "InnerProduct") for row in report.rows)
    assert layers == 200 + 4  # and the four projections
    blocks = [node for node in folded_graph(report.net).nodes if node.repeats]
    assert [node.repeats for node in blocks] == [1, 2, 1, 23, 1, 35, 1, 2]


def test_skips_over_the_whole_net_are_never_folded():
    net = inspect_net(NETS["skips"]).net
    assert len(folded_graph(net).nodes) == len(layer_graph(net).nodes)


class Page(html.parser.HTMLParser):
    """The elements of a page, and its data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.data, self.current = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))
        self.current = dict(attributes).get("id")

    def handle_data(self, text):
        if self.current == "data":
            self.data = json.loads(text)
            self.current = None


def test_the_page_has_every_layer_with_its_prototxt(report):
    page = Page(html_page(report, find_problems(report)))
    assert [layer["name"] for layer in page.data.values()] == [row.name for row in report.rows]
    drawn = {int(n) for a in page.attributes for n in a.get("data-layers", "").split()}
    assert drawn == set(range(len(report.rows)))
    for number, layer in page.data.items():
        param = text_format.Parse(layer["prototxt"], caffe_pb2.LayerParameter())
        assert param.name == report.rows[int(number)].name


def test_the_page_needs_no_network(report):
    text = html_page(report)
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+", text))
    assert addresses <= {"http://www.w3.org"}  # the name of SVG's namespace
    assert not {"link", "img", "iframe"} & set(Page(text).tags)
    assert not [a for a in Page(text).attributes if "src" in a or "href" in a]


def test_names_from_the_file_are_escaped():
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&<!--DATA-->'
    net = text_format.Parse(SCORER, caffe_pb2.NetParameter())
    plain = Page(html_page(inspect_net(net)))
    net.name = net.layer[1].name = evil
    report = inspect_net(net)
    page = Page(html_page(report, find_problems(report)))
    assert page.tags == plain.tags
    assert page.data["1"]["name"] == evil


def test_the_page_holds_the_histograms_of_the_weights(tmp_path):
    path = write(tmp_path, SCORER)
    caffe.Net(path, caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    report = inspect_net(path)
    page = Page(html_page(report, (), blob_rows(report, tmp_path / "w.caffemodel")))
    kernel, bias = page.data["1"]["weights"]
    assert sum(kernel["statistics"]["bars"]) == 108
    assert bias["state"] == "loaded"


def test_the_page_knows_the_receptive_field():
    page = Page(html_page(inspect_net(text_format.Parse(SCORER, caffe_pb2.NetParameter()))))
    assert page.data["3"]["field"] == {
        "axes": [{"stride": 2.0, "fields": [[-1.0, 2.0]]}] * 2,
        "size": [4, 4],
        "image": [8, 8],
        "frame": "data",
    }


def test_the_command_writes_the_page(tmp_path, capsys):
    path, out = write(tmp_path, SCORER), tmp_path / "pages" / "net.html"
    assert caffe_command.main(["inspect", path, "--html", str(out)]) == 0
    assert out.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.parametrize("name", NETS)
def test_the_script_of_the_page_runs_in_chromium(tmp_path, name):
    report = inspect_net(NETS[name])
    (tmp_path / "net.html").write_text(html_page(report, find_problems(report)))
    layer = report.rows[len(report.rows) // 2].name
    dom = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
         "--dump-dom", f"file://{tmp_path}/net.html#layer={layer}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r'class="node [^"]*picked"', dom)
    assert f'<div id="layer"><h2>{layer}</h2>' in dom
