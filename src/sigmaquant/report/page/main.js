// The page, section by section. A section with nothing to show is left out.

const SECTIONS = [
  ["budgets", "Budgets", budgetSection],
  ["quality", "Before and after", beforeAfterSection],
  ["bits", "Bits by layer", bitsSection],
  ["sensitivity", "Sensitivity", sensitivitySection],
  ["guarantees", "Guarantees", guaranteesSection],
  ["plans", "Against uniform plans", plansSection],
  ["exports", "Exported files", exportSection],
  ["layers", "Layers", layersSection],
  ["calibration", "Calibration data", calibrationSection],
  ["times", "Time", timeSection],
  ["evidence", "Evidence", evidenceSection],
  ["provenance", "Provenance", provenanceSection],
];

function addSection(id, title, build) {
  const built = build();
  if (!built) return;
  document.getElementById("contents").append(html("li", {}, html("a", { href: `#${id}` }, title)));
  document.getElementById("main").append(html("section", { id, "aria-labelledby": `${id}-title` },
    html("h2", { id: `${id}-title` }, title),
    built.takeaway ? paragraph(built.takeaway, "takeaway") : null,
    ...built.content));
}

document.getElementById("subject").textContent = subject();
document.getElementById("main").append(summary());
for (const [id, title, build] of SECTIONS) addSection(id, title, build);
drawCharts();
window.addEventListener("resize", () => requestAnimationFrame(drawCharts));
