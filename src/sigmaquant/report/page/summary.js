// The top of the page: key figures, and what the reader must not miss.

const CHANGE_WORDS = {
  flash_bytes: ["smaller", "larger"],
  peak_ram_bytes: ["smaller", "larger"],
  latency_ms: ["faster", "slower"],
  energy_uj: ["less", "more"],
};
const STAGE_TITLES = {
  float: "float32",
  quantized: "quantized",
  finetuned: "fine-tuned",
  exported: "exported",
};

function qualityAt(stage, metric) {
  return report.quality.find((row) => row.stage === stage && row.metric === metric) ?? null;
}

function finalQuality(metric) {
  const found = STAGES.slice(1).map((stage) => qualityAt(stage, metric)).filter((row) => row);
  return found.at(-1) ?? null;
}

function totalWeights() {
  return report.layers.reduce((sum, layer) => sum + layer.weights, 0);
}

function weightBitsMean() {
  return report.layers.reduce((sum, layer) => sum + layer.weights * layer.weight_bits, 0) / totalWeights();
}

function qualityChange(metric, before, after) {
  if (!before || !after) return UNKNOWN;
  const change = after.value - before.value;
  if (metric === "accuracy") return `${withSign((100 * change).toFixed(2), change)} points`;
  return withSign(significant(change, 3), change);
}

function costChange(metric, before, after) {
  return formatFactor(before, after, ...CHANGE_WORDS[metric]);
}

function breaks(budget) {
  return budget.limit !== null && budget.used > budget.limit;
}

function tile(title, value, note, badge = null) {
  return html("div", { class: "tile" },
    html("dt", {}, title, badge && " ", badge),
    html("dd", { class: "value" }, value),
    html("dd", { class: "note" }, note));
}

function qualityTile(metric, title) {
  const after = finalQuality(metric);
  if (!after) return null;
  const before = qualityAt("float", metric);
  const note = before ? `${qualityChange(metric, before, after)} from float32` : STAGE_TITLES[after.stage];
  return tile(title, formatQuality(metric, after.value), note, markBadge("measured"));
}

function budgetTile(budget) {
  const change = costChange(budget.metric, budget.float_value, budget.used);
  const note = change === UNKNOWN ? "float32 not known"
    : `${change} ${change === SAME ? "as" : "than"} float32`;
  return tile(METRIC_TITLES[budget.metric], formatCost(budget.metric, budget.used), note,
    markBadge(budget.mark));
}

function summary() {
  const widths = report.layers.map((layer) => layer.weight_bits);
  const range = `${plural(widths.length, "layer", "layers")}, ${spread(widths)} bits`;
  const tiles = [
    qualityTile("accuracy", "Accuracy") ?? qualityTile("loss", "Loss"),
    ...report.budgets.map(budgetTile),
    tile("Bits a weight", weightBitsMean().toFixed(2), range),
  ];
  return html("section", { class: "summary", "aria-label": "Key figures" },
    html("dl", { class: "tiles" }, ...tiles), cautions());
}

function spread(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least === most ? `${least}` : `${least} to ${most}`;
}

function cautions() {
  const unverified = report.exports.filter((file) => !file.verified)
    .map((file) => `${file.file_name} did not pass its verification.`);
  const broken = report.budgets.filter(breaks).map((budget) =>
    `${METRIC_TITLES[budget.metric]} is over its limit: ` +
    `${formatCost(budget.metric, budget.used)} of ${formatCost(budget.metric, budget.limit)}.`);
  const sentences = [...broken, ...unverified, ...report.warnings];
  if (!sentences.length) return null;
  return html("div", { class: "callout", role: "note", "aria-label": "Warnings" },
    html("h2", {}, plural(sentences.length, "warning", "warnings")),
    html("ul", {}, ...sentences.map((sentence) => html("li", {}, sentence))));
}

function subject() {
  const { solution, provenance } = report;
  const gap = solution.gap === null ? "" : `, gap ${significant(100 * solution.gap, 2)} %`;
  const created = new Date(provenance.created).toISOString().slice(0, 16).replace("T", " ");
  return `${report.target.title} · plan: ${solution.strategy} (${solution.status}${gap}) · ` +
    `seed ${provenance.seed} · ${created} UTC`;
}
