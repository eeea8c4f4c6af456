"use strict";
(function () {
  const layers = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas");
  const view = document.getElementById("view");
  const panel = document.getElementById("layer");
  const about = document.getElementById("about");
  const search = document.getElementById("search");
  const hits = document.getElementById("hits");
  const SVG = "http://www.w3.org/2000/svg";
  let x = 0, y = 0, zoom = 1, shown = "all", picked = null;

  function apply() { view.setAttribute("transform", `translate(${x} ${y}) scale(${zoom})`); }

  function graph() { return document.getElementById("graph-" + shown); }

  function extent() {
    const rect = graph().querySelector(".extent");
    return [Number(rect.getAttribute("width")), Number(rect.getAttribute("height"))];
  }

  function fit() {
    const [width, height] = extent();
    zoom = Math.min(1.2, canvas.clientWidth / width, canvas.clientHeight / height);
    x = (canvas.clientWidth - zoom * width) / 2;
    y = (canvas.clientHeight - zoom * height) / 2;
    apply();
  }

  // A tall net starts at its top, in letters that can be read.
  function start() {
    const [width, height] = extent();
    zoom = Math.min(1, canvas.clientWidth / width);
    x = (canvas.clientWidth - zoom * width) / 2;
    y = Math.max(0, (canvas.clientHeight - zoom * height) / 2);
    apply();
  }

  function zoomBy(factor, cx, cy) {
    const next = Math.min(4, Math.max(0.02, zoom * factor));
    x = cx - (cx - x) * next / zoom;
    y = cy - (cy - y) * next / zoom;
    zoom = next;
    apply();
  }

  function show(name) {
    shown = name;
    for (const g of document.querySelectorAll(".graph")) {
      g.classList.toggle("shown", g.id === "graph-" + name);
    }
    document.getElementById("fold").textContent = name === "all" ? "fold blocks" : "unfold blocks";
    mark();
    find(false);
  }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015));
    zoomBy(factor, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX - x, y: event.clientY - y, moved: false };
  });
  window.addEventListener("pointermove", (event) => {
    if (!drag) { return; }
    const nx = event.clientX - drag.x, ny = event.clientY - drag.y;
    if (Math.abs(nx - x) + Math.abs(ny - y) > 3) { drag.moved = true; }
    if (drag.moved) { x = nx; y = ny; canvas.classList.add("dragged"); apply(); }
  });
  window.addEventListener("pointerup", () => {
    canvas.classList.remove("dragged");
    setTimeout(() => { drag = null; }, 0);
  });
  canvas.addEventListener("click", (event) => {
    if (drag && drag.moved) { return; }
    const node = event.target.closest(".node");
    pick(node ? numbers(node)[0] : null, node ? numbers(node) : []);
  });

  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  document.getElementById("larger").addEventListener("click", () => zoomBy(1.3, ...middle()));
  document.getElementById("smaller").addEventListener("click", () => zoomBy(1 / 1.3, ...middle()));
  document.getElementById("fit").addEventListener("click", fit);
  document.getElementById("fold").addEventListener("click", () => {
    show(shown === "all" ? "folded" : "all");
    start();
  });
  document.getElementById("table").addEventListener("click", () => {
    const sheet = document.getElementById("sheet");
    sheet.hidden = !sheet.hidden;
  });

  function numbers(node) { return node.dataset.layers.split(" ").map(Number); }

  function nodeOf(number) {
    return [...graph().querySelectorAll(".node")].find((n) => numbers(n).includes(number));
  }

  function mark() {
    for (const node of document.querySelectorAll(".node.picked")) { node.classList.remove("picked"); }
    for (const edge of document.querySelectorAll(".edge.near")) { edge.classList.remove("near"); }
    if (picked === null) { return; }
    const node = nodeOf(picked);
    if (!node) { return; }
    node.classList.add("picked");
    const first = node.dataset.layers.split(" ")[0];
    for (const edge of graph().querySelectorAll(".edge")) {
      if (edge.dataset.from === first || edge.dataset.to === first) { edge.classList.add("near"); }
    }
  }

  function centre(node) {
    zoom = Math.max(zoom, 0.7);
    x = canvas.clientWidth / 2 - zoom * Number(node.dataset.x);
    y = canvas.clientHeight / 2 - zoom * Number(node.dataset.y);
    apply();
  }

  function jump(number) {
    const node = nodeOf(number);
    if (node) { pick(number, numbers(node)); centre(node); }
  }

  let place = -1;
  function find(next) {
    const word = search.value.trim().toLowerCase();
    const matches = [];
    for (const node of graph().querySelectorAll(".node")) {
      const match = word !== "" && numbers(node).some((n) =>
        (layers[n].name + " " + layers[n].facts.type).toLowerCase().includes(word));
      node.classList.toggle("hit", match);
      node.classList.toggle("faded", word !== "" && !match);
      if (match) { matches.push(node); }
    }
    hits.textContent = word === "" ? "" : `${matches.length} found`;
    if (next && matches.length) {
      place = (place + 1) % matches.length;
      centre(matches[place]);
    }
  }
  search.addEventListener("input", () => { place = -1; find(false); });
  search.addEventListener("keydown", (event) => { if (event.key === "Enter") { find(true); } });

  function element(tag, text, className) {
    const e = document.createElement(tag);
    if (text !== undefined) { e.textContent = text; }
    if (className) { e.className = className; }
    return e;
  }

  function drawing(tag, attributes) {
    const e = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) { e.setAttribute(name, value); }
    return e;
  }

  function pick(number, group) {
    picked = number;
    mark();
    panel.replaceChildren();
    about.hidden = number !== null;
    if (number === null) { return; }
    const layer = layers[number];
    panel.append(element("h2", layer.name));
    if (group.length > 1) {
      const list = element("p", undefined, "hint");
      for (const other of group) {
        const link = element("a", layers[other].name, "inner");
        link.addEventListener("click", () => pick(other, group));
        list.append(link, " ");
      }
      panel.append(list);
    }
    for (const text of layer.warnings) { panel.append(element("p", text, "warning")); }
    const table = element("table");
    for (const [name, value] of Object.entries(layer.facts)) {
      const row = element("tr");
      row.append(element("th", name), element("td", value));
      table.append(row);
    }
    panel.append(table);
    if (layer.field) { panel.append(...receptiveField(layer.field)); }
    for (const blob of layer.weights) { panel.append(...histogram(blob)); }
    panel.append(element("h2", "prototxt"), element("pre", layer.prototxt));
    panel.parentElement.scrollTop = 0;
  }

  function receptiveField(field) {
    const [height, width] = field.image;
    const svg = drawing("svg", { class: "field", width: 360, height: 260 });
    const at = field.size.map((n) => Math.floor((n - 1) / 2));
    const caption = element("p", "", "hint");
    function draw() {
      const seen = field.axes.map((axis, i) => axis.fields[at[i] % axis.fields.length]);
      const spans = field.axes.map((axis, i) => (seen[i] || [0, -1]).map(
        (edge, j) => [Math.ceil, Math.floor][j](at[i] * axis.stride + edge)));
      const [top, bottom] = spans[0], [left, right] = spans[1];
      const x0 = Math.min(0, left), y0 = Math.min(0, top);
      const x1 = Math.max(width, right + 1), y1 = Math.max(height, bottom + 1);
      const margin = 0.04 * Math.max(x1 - x0, y1 - y0);
      svg.setAttribute("viewBox",
        `${x0 - margin} ${y0 - margin} ${x1 - x0 + 2 * margin} ${y1 - y0 + 2 * margin}`);
      const thin = (x1 - x0) / 300;
      const dot = Math.max(1, 3 * thin);
      svg.replaceChildren(
        drawing("rect", { class: "image", x: 0, y: 0, width, height, "stroke-width": thin }),
        drawing("rect", { class: "seen", x: left, y: top, width: right - left + 1,
          height: bottom - top + 1, "stroke-width": thin }),
        drawing("circle", { class: "centre", cx: (left + right + 1) / 2,
          cy: (top + bottom + 1) / 2, r: dot }));
      caption.textContent = `value (${at[0]}, ${at[1]}) sees rows ${top} .. ${bottom}, columns `
        + `${left} .. ${right} of ${field.frame} (${height} x ${width}); what lies outside is padding`;
    }
    const sliders = ["row", "column"].map((name, i) => {
      const label = element("label", name, "slider");
      const input = element("input");
      Object.assign(input, { type: "range", min: 0, max: field.size[i] - 1, value: at[i] });
      input.addEventListener("input", () => { at[i] = Number(input.value); draw(); });
      label.append(input);
      return label;
    });
    draw();
    return [element("h2", "receptive field"), svg, ...sliders, caption];
  }

  function histogram(blob) {
    const s = blob.statistics;
    const title = element("h2", `blob ${blob.index}: ${blob.state}`);
    if (!s) { return [title]; }
    const short = (n) => n === null ? "-" : Number(n.toPrecision(4));
    const words = element("p", `${s.count.toLocaleString("en")} values, ${short(s.minimum)} .. `
      + `${short(s.maximum)}, mean ${short(s.mean)}, std ${short(s.deviation)}, `
      + `${(100 * s.zeros).toFixed(1)} % zeros, ${s.nan} NaN, ${s.infinite} infinite`, "hint");
    const svg = drawing("svg", { class: "field bars", width: 360, height: 90,
      viewBox: `0 0 ${s.bars.length || 1} 100`, preserveAspectRatio: "none" });
    const most = Math.max(1, ...s.bars);
    s.bars.forEach((n, i) => {
      const height = 96 * n / most;
      svg.append(drawing("rect", { x: i + 0.05, y: 100 - height, width: 0.9, height }));
    });
    return [title, svg, words];
  }

  for (const link of document.querySelectorAll("a.jump")) {
    link.addEventListener("click", () => {
      const number = Object.keys(layers).find((n) => layers[n].name === link.dataset.name);
      jump(Number(number));
    });
  }

  // A link to page.html#layer=NAME opens the page at a layer, #folded with its blocks folded.
  function open() {
    const wanted = decodeURIComponent(location.hash.slice(1));
    show(wanted === "folded" ? "folded" : "all");
    start();
    if (wanted === "fit") { fit(); }
    if (wanted.startsWith("layer=")) {
      const number = Object.keys(layers).find((n) => layers[n].name === wanted.slice(6));
      if (number !== undefined) { jump(Number(number)); }
    }
  }
  window.addEventListener("hashchange", open);
  open();
})();
