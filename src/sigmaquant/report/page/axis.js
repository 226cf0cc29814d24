// The layers along x, in order of execution; shared by the charts that have one column a layer.

const MARGIN = { left: 44, right: 8 };
const WIDEST_COLUMN = 72;
const LABEL_SPACING = 15;
const LONGEST_LABEL = 22;

// Columns {x, width} that fill the chart: equal, or in proportion to the layers' weights.
function layerColumns(chartWidth, proportional) {
  const room = chartWidth - MARGIN.left - MARGIN.right;
  const count = report.layers.length;
  const total = Math.min(room, count * WIDEST_COLUMN);
  const weights = totalWeights();
  // Every layer keeps a visible sliver; what remains is shared out by weights.
  const sliver = Math.min(2, total / count / 2);
  const share = (layer) => sliver + (layer.weights / weights) * (total - count * sliver);
  let x = MARGIN.left;
  return report.layers.map((layer) => {
    const width = proportional ? share(layer) : total / count;
    x += width;
    return { x: x - width, width };
  });
}

function gapOf(column) {
  return column.width > 8 ? 2 : column.width > 3 ? 0.5 : 0;
}

function shortened(name) {
  if (name.length <= LONGEST_LABEL) return name;
  return `${name.slice(0, 7)}…${name.slice(8 - LONGEST_LABEL)}`;
}

// Names at an angle where there is room for most, else brackets around layers of one module.
function layerLabels(columns, top) {
  const placed = [];
  columns.forEach((column, i) => {
    const middle = column.x + column.width / 2;
    const last = placed.at(-1);
    if (!last || middle - last.middle >= LABEL_SPACING) placed.push({ middle, i });
  });
  const crowded = placed.length < columns.length * 0.6;
  const labels = crowded ? moduleBrackets(columns, top) : placed.map(({ middle, i }) => svg("text",
    { class: "label", "text-anchor": "end", transform: `translate(${middle + 4} ${top + 12}) rotate(-42)` },
    shortened(report.layers[i].name)));
  const longest = Math.max(...report.layers.map((layer) => shortened(layer.name).length));
  return { labels, height: crowded ? 34 : 18 + longest * 4.2 };
}

function moduleBrackets(columns, top) {
  const depths = [4, 3, 2, 1].map(modulesAtDepth);
  const modules = depths.find((runs) => runs.length <= 14) ?? depths.at(-1);
  return modules.flatMap(({ name, first, last }) => {
    const [left, right] = [columns[first].x + 1, columns[last].x + columns[last].width - 1];
    const bracket = svg("path", { class: "bracket", d: `M${left} ${top + 4}v4H${right}v-4` });
    const fits = right - left > name.length * 6.5;
    return fits ? [bracket, svg("text", { class: "label", "text-anchor": "middle",
      x: (left + right) / 2, y: top + 24 }, name)] : [bracket];
  });
}

function modulesAtDepth(depth) {
  const runs = [];
  report.layers.forEach((layer, i) => {
    const name = layer.name.split(".").slice(0, depth).join(".");
    if (runs.at(-1)?.name === name) runs.at(-1).last = i;
    else runs.push({ name, first: i, last: i });
  });
  return runs;
}

function layerFacts(layer) {
  return [
    ["Kind", layer.kind.replaceAll("_", " ")],
    ["Weights", `${formatCount(layer.weights)} at ${layer.weight_bits} bits`],
    ["Input", `${layer.activation_bits} bits`],
    ["MACs", formatCount(layer.macs)],
    ["Flash", formatBytes(layer.flash_bytes)],
    ["Latency", formatCost("latency_ms", layer.latency_ms)],
    ["Energy", formatCost("energy_uj", layer.energy_uj)],
    ["Loss rise", formatRise(layer.scores[layer.weight_bits])],
  ];
}
