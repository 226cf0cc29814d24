// How the result came to be: files and their verification, time, evidence, versions.

function exportSection() {
  if (!report.exports.length) return null;
  const columns = [{ title: "File" }, { title: "Format" }, { title: "Size", numeric: true },
    { title: "Plan's flash", numeric: true }, { title: "Size in float32", numeric: true },
    { title: "Verified" }, { title: "Time over float32", numeric: true }];
  const rows = report.exports.map((file) => ({
    class: file.verified ? null : "over",
    cells: [file.file_name, file.format, formatBytes(file.file_bytes),
      formatBytes(file.predicted_flash_bytes), formatBytes(file.float_file_bytes), verification(file),
      file.latency_ratio_float === null ? UNKNOWN : significant(file.latency_ratio_float, 2)],
  }));
  const failed = report.exports.filter((file) => !file.verified).length;
  return {
    takeaway: failed ? `${plural(failed, "file", "files")} not verified.`
      : "Each file was run in its runtime and compared with the integer reference.",
    content: [table("Exported files", columns, rows), ...report.exports.flatMap(kernelList)],
  };
}

function kernelList(file) {
  const kernels = file.kernels_to_register;
  if (!kernels.length) return [];
  return [html("p", {}, `Kernels to register for ${file.file_name}: ${kernels.join(", ")}.`)];
}

function verification(file) {
  const compared = plural(file.compared_values, "value", "values");
  if (!file.differing_values) return file.verified ? `yes: ${compared} equal` : `no (${compared} compared)`;
  return `${file.verified ? "yes" : "no"}: ${formatCount(file.differing_values)} of ${compared} differ, ` +
    `by at most ${significant(file.max_difference, 2)}`;
}

function timeSection() {
  const times = report.stage_times;
  if (!times.length) return null;
  const most = Math.max(...times.map((time) => time.seconds));
  const total = times.reduce((sum, time) => sum + time.seconds, 0);
  const bar = (seconds) => {
    const fill = html("span", { class: "fill" });
    fill.style.width = `${most ? (100 * seconds) / most : 0}%`;
    return html("span", { class: "meter", "aria-hidden": "true" }, fill);
  };
  const columns = [{ title: "Stage" }, { title: "Time", numeric: true }, { title: "" }];
  const grid = table("Time by stage", columns, times.map((time) => ({
    cells: [time.stage, formatSeconds(time.seconds), bar(time.seconds)] })));
  grid.classList.add("times");
  return { takeaway: `${formatSeconds(total)} in all, wall clock.`, content: [grid] };
}

function evidenceSection() {
  const meanings = Object.entries(MARKS).flatMap(([mark, meaning]) =>
    [html("dt", {}, markBadge(mark)), html("dd", {}, meaning)]);
  const floats = report.float_operators;
  const content = [html("dl", { class: "pairs" }, ...meanings),
    html("h3", {}, "Operators that stay float32")];
  content.push(floats.length ? html("ul", { class: "plain" }, ...floats.map((name) => html("li", {}, name)))
    : paragraph("None."));
  return {
    takeaway: "Every figure carries the weakest evidence behind it. Quality and file sizes are measured.",
    content,
  };
}

function provenanceSection() {
  const { provenance } = report;
  const facts = [["Created", provenance.created], ["Seed", String(provenance.seed)],
    ["sigmaquant", provenance.sigmaquant], ...Object.entries(provenance.versions)];
  const pairs = facts.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]);
  const commands = provenance.commands.length
    ? [html("h3", {}, "To repeat"), html("pre", { tabindex: "0" }, provenance.commands.join("\n"))] : [];
  return { takeaway: "", content: [html("dl", { class: "pairs" }, ...pairs), ...commands] };
}
