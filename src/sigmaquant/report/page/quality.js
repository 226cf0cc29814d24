// Before and after: float32, uniform 8 bits and this plan side by side.

function beforeAfterSection() {
  const columns = [
    { title: "Figure" }, { title: "float32", numeric: true }, { title: "Uniform 8 bits", numeric: true },
    { title: "This plan", numeric: true }, { title: "Change from float32", numeric: true },
    { title: "Evidence" },
  ];
  const rows = [...["accuracy", "loss"].map(qualityRow), ...report.budgets.map(costRow),
    ...report.exports.flatMap(fileRows)];
  const known = rows.filter((row) => row);
  if (!known.length) return null;
  const content = [table("Before and after", columns, known)];
  if (report.quality.length) content.push(html("h3", {}, "Quality, stage by stage"), stageTable());
  return { takeaway: qualityTakeaway(), content };
}

function qualityTakeaway() {
  const metric = finalQuality("accuracy") ? "accuracy" : "loss";
  const [before, after] = [qualityAt("float", metric), finalQuality(metric)];
  if (!before || !after) return "Quality was not measured.";
  const name = metric === "accuracy" ? "Accuracy" : "Loss";
  return `${name} ${formatQuality(metric, before.value)} before, ` +
    `${formatQuality(metric, after.value)} after (${STAGE_TITLES[after.stage]}).`;
}

function qualityRow(metric) {
  const [before, after] = [qualityAt("float", metric), finalQuality(metric)];
  if (!before && !after) return null;
  const value = (row) => formatQuality(metric, row ? row.value : null);
  // Uniform plans are compared on other samples and by the scored loss: see "Against uniform plans".
  return { cells: [metric === "accuracy" ? "Accuracy" : lossTitle(), value(before),
    UNKNOWN, value(after),
    qualityChange(metric, before, after), markBadge("measured")] };
}

function costRow(budget) {
  const values = [budget.float_value, budget.uniform8_value, budget.used];
  return { cells: [METRIC_TITLES[budget.metric],
    ...values.map((value) => formatCost(budget.metric, value)),
    costChange(budget.metric, budget.float_value, budget.used), markBadge(budget.mark)] };
}

function fileRows(file) {
  const size = { cells: [file.file_name, formatBytes(file.float_file_bytes), UNKNOWN,
    formatBytes(file.file_bytes), formatFactor(file.float_file_bytes, file.file_bytes, "smaller", "larger"),
    markBadge("measured")] };
  if (file.latency_ratio_float === null) return [size];
  const ratio = file.latency_ratio_float;
  return [size, { cells: [`${file.file_name}: time in its runtime`, "1", UNKNOWN, significant(ratio, 3),
    formatFactor(1, ratio, "faster", "slower"), markBadge("measured")] }];
}

function stageTable() {
  const columns = [{ title: "Stage" },
    { title: "Accuracy", numeric: true }, { title: "samples", numeric: true },
    { title: lossTitle(), numeric: true }, { title: "samples", numeric: true }];
  const cells = (stage, metric) => {
    const row = qualityAt(stage, metric);
    return row ? [formatQuality(metric, row.value), formatCount(row.samples)] : [UNKNOWN, UNKNOWN];
  };
  const measured = STAGES.filter((stage) => qualityAt(stage, "accuracy") || qualityAt(stage, "loss"));
  return table("Quality by stage", columns, measured.map((stage) => ({
    cells: [STAGE_TITLES[stage], ...cells(stage, "accuracy"), ...cells(stage, "loss")],
  })));
}

// The loss of the evaluation, which is not always the one that was scored.
function lossTitle() {
  return report.quality_loss ? `Loss (${report.quality_loss})` : "Loss";
}
