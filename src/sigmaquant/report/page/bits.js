// Bits by layer: one bar a layer, as high as its weights have bits.

const BITS_CHART = { top: 18, height: 190 };

function bitsSection() {
  let proportional = false;
  const drawing = chart((width) => bitsChart(width, proportional));
  const choose = (value) => {
    proportional = value;
    drawing.replaceChildren(bitsChart(drawing.clientWidth, proportional));
  };
  return {
    takeaway: `${weightBitsMean().toFixed(2)} bits a weight on average. Hover over a bar, or use the ` +
      "arrow keys, for a layer's figures.",
    content: [widthToggle(choose), drawing],
  };
}

function widthToggle(choose) {
  const option = (text, value) => {
    const input = html("input", { type: "radio", name: "bar-width", checked: value ? false : "" });
    input.addEventListener("change", () => choose(value));
    return html("label", {}, input, html("span", {}, text));
  };
  return html("fieldset", { class: "toggle" }, html("legend", {}, "Bar width"),
    option("equal", false), option("by number of weights", true));
}

function bitsChart(width, proportional) {
  const { top, height } = BITS_CHART;
  const columns = layerColumns(width, proportional);
  const y = (bits) => top + height * (1 - bits / 8);
  const bars = report.layers.map((layer, i) => bitsBar(layer, columns[i], y));
  const { labels, height: labelHeight } = layerLabels(columns, y(0));
  const end = columns.at(-1).x + columns.at(-1).width;
  const grid = [0, 2, 4, 6, 8].flatMap((bits) => [
    svg("path", { class: "grid", d: `M${MARGIN.left - 4} ${y(bits)}H${end}` }),
    svg("text", { class: "tick", x: MARGIN.left - 9, y: y(bits) + 4, "text-anchor": "end" }, String(bits)),
  ]);
  const drawing = canvas(width, y(0) + labelHeight, "Bits of the weights, by layer", ...grid,
    svg("text", { class: "tick", x: 0, y: 11 }, "bits"), ...bars, ...labels);
  interactive(drawing, bars, bars.length);
  return drawing;
}

function bitsBar(layer, column, y) {
  const gap = gapOf(column);
  const [x, width] = [column.x + gap / 2, column.width - gap];
  const bits = layer.weight_bits;
  const number = svg("text", { class: "number", x: x + width / 2, y: y(bits) - 5, "text-anchor": "middle" },
    String(bits));
  return explained(svg("g", { class: "bar" },
    svg("rect", { class: "hit", x: column.x, y: y(8), width: column.width, height: y(0) - y(8) }),
    svg("rect", { class: `column bits-${bits}`, x, y: y(bits), width, height: y(0) - y(bits) }),
    width >= 9 ? number : null), layer.name, layerFacts(layer));
}
