// Each cost against its limit, with the float32 network and uniform 8 bits on the same scale.

const USE_BAR = { height: 34, top: 9, thickness: 16 };

function budgetSection() {
  if (!report.budgets.length) return null;
  const limited = report.budgets.filter((budget) => budget.limit !== null);
  const broken = limited.filter(breaks);
  const columns = [
    { title: "Cost" }, { title: "Used", numeric: true }, { title: "Limit", numeric: true },
    { title: "Use", numeric: true }, { title: "On a scale from zero" }, { title: "Evidence" },
  ];
  const rows = report.budgets.map((budget) => ({
    class: breaks(budget) ? "over" : null,
    cells: [METRIC_TITLES[budget.metric], formatCost(budget.metric, budget.used),
      budget.limit === null ? "no limit" : formatCost(budget.metric, budget.limit),
      budget.limit !== null ? formatShare(budget.used / budget.limit) : UNKNOWN,
      chart((width) => useBar(budget, width)), markBadge(budget.mark)],
  }));
  const budgets = table("Budgets and their use", columns, rows);
  budgets.classList.add("budgets");
  return { takeaway: budgetTakeaway(limited, broken), content: [budgets, budgetKey()] };
}

function budgetTakeaway(limited, broken) {
  if (!limited.length) return "No limits were set.";
  if (broken.length) return `${broken.length} of ${plural(limited.length, "limit", "limits")} broken.`;
  const tightest = limited.reduce((a, b) => (a.used / a.limit > b.used / b.limit ? a : b));
  const holds = limited.length === 1 ? "The limit holds" : `All ${limited.length} limits hold`;
  return `${holds}; the tightest is ${METRIC_TITLES[tightest.metric].toLowerCase()}, at ` +
    `${formatShare(tightest.used / tightest.limit)}.`;
}

function useBar(budget, width) {
  const { height, top, thickness } = USE_BAR;
  const baselines = [["float", budget.float_value], ["uniform8", budget.uniform8_value]]
    .filter(([, value]) => value !== null);
  const most = Math.max(budget.used, budget.limit ?? 0, ...baselines.map(([, value]) => value));
  const x = (value) => 8 + (most ? value / most : 0) * (width - 16);
  const middle = top + thickness / 2;
  const drawing = canvas(width, height, "", svg("rect",
    { class: "track", x: x(0), y: top, width: x(most) - x(0), height: thickness }),
  svg("rect", { class: breaks(budget) ? "use over" : "use", x: x(0), y: top,
    width: x(budget.used) - x(0), height: thickness }),
  ...baselines.map(([name, value]) => baseline(name, x(value), middle)),
  budget.limit === null ? null : limitLine(x(budget.limit), height));
  drawing.setAttribute("aria-hidden", "true");
  return drawing;
}

function baseline(name, x, y) {
  if (name === "float") return svg("circle", { class: "baseline", cx: x, cy: y, r: 5 });
  return svg("path", { class: "baseline", d: `M${x} ${y - 6.5}l6.5 6.5l-6.5 6.5l-6.5 -6.5z` });
}

function limitLine(x, height) {
  return svg("path", { class: "limit", d: `M${x} 2V${height - 2}` });
}

function budgetKey() {
  const sample = (...marks) => canvas(20, 20, "", ...marks);
  const entries = [
    [sample(svg("rect", { class: "use", x: 2, y: 4, width: 16, height: 12 })), "this plan"],
    [sample(limitLine(10, 20)), "limit"],
    [sample(baseline("uniform8", 10, 10)), "uniform 8 bits"],
    [sample(baseline("float", 10, 10)), "float32"],
  ];
  return html("ul", { class: "key", "aria-label": "Key" }, ...entries.map(([drawing, text]) => {
    drawing.setAttribute("aria-hidden", "true");
    return html("li", {}, drawing, text);
  }));
}
