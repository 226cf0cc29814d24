// What can be relied on about the plan; the sentences are those of the terminal.

function guaranteesSection() {
  return {
    takeaway: "What was proven, measured or left open about the plan.",
    content: [html("ul", { class: "plain" }, ...GUARANTEES.map((sentence) => html("li", {}, sentence)))],
  };
}
