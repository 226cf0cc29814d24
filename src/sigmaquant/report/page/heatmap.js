// Sensitivity: the rise of the loss for every layer and width, on a logarithmic colour scale.

const HEAT_STEPS = 9;
const HEAT_ROW = 22;

function sensitivitySection() {
  const widths = scoredWidths();
  if (!widths.length) return null;
  const { scoring } = report;
  return {
    takeaway: `Rise of the ${scoring.loss} loss when one layer alone is quantized. Metric: ` +
      `${scoring.metric}; rounding: ${scoring.rounding}; ${plural(scoring.samples, "sample", "samples")}.`,
    content: [heatKey(), chart((width) => heatMap(width, widths)), closeCalls()],
  };
}

function scoredWidths() {
  const widths = new Set(report.layers.flatMap((layer) => Object.keys(layer.scores).map(Number)));
  return [...widths].sort((a, b) => b - a);
}

// [least, most] of the positive rises; a rise of 0 or less is noise and has the lowest colour.
function heatRange() {
  const rises = report.layers.flatMap((layer) => Object.values(layer.scores).map((score) => score.rise));
  const positive = rises.filter((rise) => rise > 0);
  return positive.length ? [Math.min(...positive), Math.max(...positive)] : [1, 1];
}

function heatStep(rise, [least, most]) {
  if (rise <= least || most === least) return 0;
  const position = Math.log(rise / least) / Math.log(most / least);
  return Math.min(HEAT_STEPS - 1, Math.floor(position * HEAT_STEPS));
}

function heatMap(width, widths) {
  const columns = layerColumns(width, false);
  const range = heatRange();
  const cells = widths.flatMap((bits, row) => report.layers.map((layer, i) =>
    heatCell(layer, bits, columns[i], 4 + row * HEAT_ROW, range)));
  const chosen = report.layers.map((layer, i) => {
    const row = widths.indexOf(layer.weight_bits);
    return row < 0 ? null : chosenOutline(columns[i], 4 + row * HEAT_ROW);
  });
  const ticks = widths.map((bits, row) => svg("text",
    { class: "tick", x: MARGIN.left - 9, y: 4 + (row + 0.5) * HEAT_ROW + 4, "text-anchor": "end" },
    row ? String(bits) : `${bits} bits`));
  const bottom = 4 + widths.length * HEAT_ROW;
  const { labels, height } = layerLabels(columns, bottom);
  const drawing = canvas(width, bottom + height, "Rise of the loss, by layer and width",
    ...ticks, ...cells, ...chosen, ...labels);
  interactive(drawing, cells, report.layers.length);
  return drawing;
}

function heatCell(layer, bits, column, y, range) {
  const score = layer.scores[bits];
  const heat = score ? `heat-${heatStep(score.rise, range)}` : "heat-none";
  const gap = gapOf(column);
  const cell = svg("rect", { class: `cell ${heat}`, x: column.x, y, width: column.width - gap,
    height: HEAT_ROW - 1 });
  const choice = bits === layer.weight_bits ? [["Chosen", "yes"]] : [];
  return explained(cell, `${layer.name} at ${bits} bits`,
    [["Loss rise", score ? formatRise(score) : "not scored"], ...choice]);
}

// Ink for pale cells, a pale line inside it for dark ones.
function chosenOutline(column, y) {
  const frame = (kind, inset) => svg("rect", { class: kind, x: column.x + inset, y: y + inset,
    width: column.width - gapOf(column) - 2 * inset, height: HEAT_ROW - 1 - 2 * inset });
  if (column.width < 8) return frame("chosen", 0);
  return svg("g", {}, frame("chosen", 1), frame("halo", 2.6));
}

function heatKey() {
  const [least, most] = heatRange();
  const swatches = Array.from({ length: HEAT_STEPS }, (_, i) =>
    svg("rect", { class: `heat-${i}`, x: i * 18, y: 0, width: 18, height: 14 }));
  const hidden = (drawing) => filled(drawing, { "aria-hidden": "true" }, []);
  const frame = { class: "chosen", x: 1.5, y: 1.5, width: 17, height: 11 };
  const outline = canvas(20, 14, "", svg("rect", frame));
  const scale = html("li", {}, significant(least, 1),
    hidden(canvas(18 * HEAT_STEPS, 14, "", ...swatches)), significant(most, 1));
  return html("ul", { class: "key", "aria-label": "Key" }, least < most ? scale : null,
    html("li", {}, hidden(outline), "chosen width"));
}

function closeCalls() {
  if (!report.close_calls.length) return null;
  const columns = [{ title: "Could be wider" }, { title: "Bits", numeric: true },
    { title: "For" }, { title: "Bits", numeric: true },
    { title: "Difference of the rises", numeric: true }];
  return html("div", {}, html("h3", {}, "Choices that hang on noise"),
    table("Choices that hang on noise", columns, report.close_calls.map((call) => ({
      cells: [call.raised, String(call.raised_bits), call.lowered, String(call.lowered_bits),
        formatRise({ rise: call.rise_difference, standard_error: call.standard_error })],
    }))));
}
