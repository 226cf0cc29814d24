// All layers in one table that sorts by any column.

const LAYER_COLUMNS = [
  { title: "#", numeric: true, key: (layer, i) => i + 1, text: String },
  { title: "Layer", key: (layer) => layer.name, text: String },
  { title: "Kind", key: (layer) => layer.kind, text: (kind) => kind.replaceAll("_", " ") },
  { title: "Weights", numeric: true, key: (layer) => layer.weights, text: formatCount },
  { title: "MACs", numeric: true, key: (layer) => layer.macs, text: formatCount },
  { title: "Weight bits", numeric: true, key: (layer) => layer.weight_bits, text: bitsChip },
  { title: "Input bits", numeric: true, key: (layer) => layer.activation_bits, text: String },
  { title: "Flash", numeric: true, key: (layer) => layer.flash_bytes, text: formatBytes },
  { title: "Latency", numeric: true, key: (layer) => layer.latency_ms,
    text: (value) => formatCost("latency_ms", value) },
  { title: "Energy", numeric: true, key: (layer) => layer.energy_uj,
    text: (value) => formatCost("energy_uj", value) },
  { title: "Loss rise", numeric: true,
    key: (layer) => layer.scores[layer.weight_bits]?.rise ?? null,
    text: (rise, layer) => formatRise(layer.scores[layer.weight_bits]) },
];

function layersSection() {
  const columns = LAYER_COLUMNS.map((column) =>
    ({ ...column, title: html("button", { type: "button" }, column.title) }));
  const rows = report.layers.map(layerRow);
  const grid = table("Layers", columns, rows);
  const entries = [...grid.querySelectorAll("tbody tr")].map((node, i) => ({ node, keys: rows[i].keys }));
  grid.querySelectorAll("thead th").forEach((head, i) => {
    head.querySelector("button").addEventListener("click", () => sortBy(grid, entries, head, i));
  });
  grid.querySelector("thead th").setAttribute("aria-sort", "ascending");
  return {
    takeaway: `${plural(report.layers.length, "layer", "layers")}, ${formatCount(totalWeights())} weights. ` +
      "Click a column's title to sort.",
    content: [grid, ...activationWidths()],
  };
}

// Precision groups, where not all have the same width.
function activationWidths() {
  const widths = Object.entries(report.activation_bits);
  if (!widths.length) return [];
  const pairs = widths.flatMap(([group, bits]) =>
    [html("dt", {}, group), html("dd", {}, `${bits} bits`)]);
  return [html("h3", {}, "Activations"), html("dl", { class: "pairs" }, ...pairs)];
}

function layerRow(layer, i) {
  const keys = LAYER_COLUMNS.map((column) => column.key(layer, i));
  return { keys, cells: LAYER_COLUMNS.map((column, c) => column.text(keys[c], layer)) };
}

function sortBy(grid, entries, head, column) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of grid.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const sorted = [...entries].sort((a, b) => compared(a.keys[column], b.keys[column], descending));
  grid.querySelector("tbody").append(...sorted.map((entry) => entry.node));
}

// Unknown values come last in either direction.
function compared(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return descending ? -order : order;
}
