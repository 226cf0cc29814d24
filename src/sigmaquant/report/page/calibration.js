// Whether the calibration data stand for other data: what was found, and the figures behind it.

function calibrationSection() {
  const check = report.calibration;
  if (!check) return null;
  return {
    takeaway: CALIBRATION_HEADLINE,
    content: [findingTable(check), shiftTable(check), clippingTable(check), stabilityLine(check)],
  };
}

function findingTable(check) {
  if (!check.findings.length) return null;
  const columns = [{ title: "Finding" }, { title: "What" }, { title: "What to do" }];
  return table("Findings", columns, check.findings.map((finding) => ({
    class: finding.severity === "warning" ? "over" : null,
    cells: [finding.severity, finding.what, finding.advice],
  })));
}

function shiftTable(check) {
  if (!check.shifts.length) return null;
  const columns = [{ title: "Layer" }, { title: `Shift of the ${check.compared_with} data`, numeric: true },
    { title: "Noise explains", numeric: true }];
  return html("div", {}, html("h3", {}, "Shift of each layer's inputs, in standard deviations"),
    table("Shift by layer", columns, check.shifts.map((each) => ({
      cells: [each.layer, significant(each.shift, 2), significant(each.noise_limit, 2)],
    }))));
}

function clippingTable(check) {
  if (!check.clipping.length) return null;
  const columns = [{ title: "Precision group" }, { title: `In the ${check.compared_with} data`, numeric: true },
    { title: "In held-back calibration data", numeric: true }];
  return html("div", {}, html("h3", {}, "Values outside the calibrated range"),
    table("Clipping by precision group", columns, check.clipping.map((each) => ({
      cells: [each.group, formatPercent(each.deployment, 2), formatPercent(each.held_back, 2)],
    }))));
}

function stabilityLine(check) {
  const found = check.stability;
  return found && paragraph(
    `Between two halves of the ${formatCount(found.samples)} samples scored, the layers rank alike with a ` +
    `correlation of ${found.rank_correlation.toFixed(2)} ` +
    `(${found.measured ? "measured" : "inferred from the standard errors"}); plans of ` +
    `${found.mean_weight_bits.toFixed(1)} bits a weight give ${formatPercent(found.changed_weights, 0)} of ` +
    "the weights another width.");
}
