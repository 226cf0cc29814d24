// The chosen plan against uniform ones, measured alike and before any training.

const PLANS_CHART = { left: 60, right: 24, top: 16, bottom: 44, height: 300, widest: 860 };

function plansSection() {
  const plans = report.compared_plans;
  if (!plans.length) return null;
  const columns = [{ title: "Plan" }, { title: "Bits a weight", numeric: true },
    { title: "Flash", numeric: true }, { title: "Fits" },
    { title: `Loss (${report.plan_loss ?? report.scoring.loss})`, numeric: true },
    { title: "Accuracy", numeric: true }, { title: "Samples", numeric: true }];
  const bySize = [...plans].sort((a, b) => a.flash_bytes - b.flash_bytes);
  const rows = bySize.map((plan) => ({
    class: plan.chosen ? "taken" : null,
    cells: [plan.chosen ? `${plan.origin} (taken)` : plan.origin, plan.weight_bits_mean.toFixed(2),
      formatBytes(plan.flash_bytes), plan.feasible ? "yes" : "no", formatQuality("loss", plan.loss),
      formatQuality("accuracy", plan.accuracy), plan.samples ? formatCount(plan.samples) : UNKNOWN],
  }));
  const measured = plans.filter((plan) => plan.loss > 0);
  return {
    takeaway: plansTakeaway(plans),
    content: [measured.length > 1 ? chart((width) => plansChart(width, measured)) : null,
      table("Plans compared", columns, rows)],
  };
}

function plansTakeaway(plans) {
  const taken = plans.find((plan) => plan.chosen);
  const rivals = plans.filter((plan) => !plan.chosen && plan.feasible && plan.loss !== null);
  if (!taken || taken.loss === null) return "Measured on held-back calibration data, before any training.";
  if (!rivals.length) return "No uniform plan that fits was measured.";
  const best = rivals.reduce((a, b) => (a.loss <= b.loss ? a : b));
  return `The best uniform plan that fits, ${best.origin}, has a loss of ${significant(best.loss, 3)}; ` +
    `the plan taken has ${significant(taken.loss, 3)}, before any training.`;
}

function plansChart(chartWidth, plans) {
  const { left, right, top, bottom, height, widest } = PLANS_CHART;
  const width = Math.min(chartWidth, widest);
  const limit = report.budgets.find((budget) => budget.metric === "flash_bytes")?.limit ?? null;
  const most = 1.08 * Math.max(limit ?? 0, ...plans.map((plan) => plan.flash_bytes));
  const losses = plans.map((plan) => Math.log10(plan.loss));
  const [low, high] = [Math.min(...losses) - 0.15, Math.max(...losses) + 0.15];
  const x = (bytes) => left + (bytes / most) * (width - left - right);
  const y = (loss) => top + ((high - Math.log10(loss)) / (high - low)) * (height - top - bottom);
  const points = plans.map((plan) => planPoint(plan, x(plan.flash_bytes), y(plan.loss)));
  const drawing = canvas(width, height, "Loss against flash, by plan",
    ...byteTicks(most, width).flatMap(({ bytes, label }) => verticalGrid(x(bytes), label, height - bottom)),
    ...lossTicks(low, high).flatMap((loss) => horizontalGrid(y(loss), loss, width - right)),
    svg("text", { class: "tick", x: width - right, y: height - 6, "text-anchor": "end" }, "flash"),
    svg("text", { class: "tick", x: 0, y: 11 }, "loss"),
    ...(limit === null ? [] : flashLimit(x(limit), top, height - bottom)), ...points);
  interactive(drawing, points, points.length);
  return drawing;
}

function planPoint(plan, x, y) {
  const label = plan.chosen
    ? { x: x - 10, y: y + 16, "text-anchor": "end", class: "number taken" }
    : { x: x + 9, y: y - 6, class: "label" };
  const kind = plan.chosen ? "taken" : plan.feasible ? "feasible" : "infeasible";
  const facts = [["Flash", formatBytes(plan.flash_bytes)], ["Loss", formatQuality("loss", plan.loss)],
    ["Accuracy", formatQuality("accuracy", plan.accuracy)], ["Fits", plan.feasible ? "yes" : "no"]];
  return explained(svg("g", { class: "plan" },
    svg("circle", { class: "hit", cx: x, cy: y, r: 12 }),
    svg("circle", { class: `point ${kind}`, cx: x, cy: y, r: plan.chosen ? 7 : 5 }),
    svg("text", label, plan.origin)), plan.origin, facts);
}

// Round sizes, about one for every 110 pixels.
function byteTicks(most, width) {
  const [unit, name] = BYTE_STEPS.find(([size]) => most > 2 * size) ?? BYTE_STEPS.at(-1);
  const rough = most / unit / (width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.floor(most / unit / step) + 1 }, (_, i) =>
    ({ bytes: i * step * unit, label: `${significant(i * step, 4)} ${name}` }));
}

function lossTicks(low, high) {
  const factors = high - low > 1.5 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    ticks.push(...factors.map((factor) => factor * 10 ** power));
  }
  return ticks.filter((loss) => Math.log10(loss) >= low && Math.log10(loss) <= high);
}

function verticalGrid(x, label, bottom) {
  return [svg("path", { class: "grid", d: `M${x} ${PLANS_CHART.top}V${bottom}` }),
    svg("text", { class: "tick", x, y: bottom + 18, "text-anchor": "middle" }, label)];
}

function horizontalGrid(y, loss, right) {
  const { left } = PLANS_CHART;
  return [svg("path", { class: "grid", d: `M${left} ${y}H${right}` }),
    svg("text", { class: "tick", x: left - 8, y: y + 4, "text-anchor": "end" }, significant(loss, 1))];
}

function flashLimit(x, top, bottom) {
  return [svg("path", { class: "limit", d: `M${x} ${top}V${bottom}` }),
    svg("text", { class: "tick", x: x + 6, y: top + 10 }, "flash limit")];
}
