// Details of a chart's marks, by pointer or keyboard: one tab stop a chart, arrow keys inside it.

const tooltip = document.getElementById("tooltip");
const details = new WeakMap();
let shown = null;

// facts: [label, value] pairs.
function explained(mark, title, facts) {
  mark.setAttribute("role", "img");
  mark.setAttribute("aria-label", [title, ...facts.map((fact) => fact.join(" "))].join(", "));
  details.set(mark, { title, facts });
  return mark;
}

function showTooltip(mark) {
  const { title, facts } = details.get(mark);
  const pairs = facts.flatMap(([label, value]) => [html("dt", {}, label), html("dd", {}, value)]);
  tooltip.replaceChildren(html("strong", {}, title), html("dl", {}, ...pairs));
  tooltip.hidden = false;
  shown = mark;
  placeTooltip();
}

function hideTooltip() {
  tooltip.hidden = true;
  shown = null;
}

// Above its mark, or below where there is no room.
function placeTooltip() {
  if (!shown) return;
  if (!shown.isConnected) {
    hideTooltip();
    return;
  }
  const mark = shown.getBoundingClientRect();
  const { offsetWidth, offsetHeight } = tooltip;
  const middle = mark.left + mark.width / 2 - offsetWidth / 2;
  const rightmost = document.documentElement.clientWidth - offsetWidth - 8;
  const above = mark.top - offsetHeight - 8;
  tooltip.style.left = `${Math.max(8, Math.min(middle, rightmost))}px`;
  tooltip.style.top = `${above > 8 ? above : mark.bottom + 8}px`;
}

// marks: in rows of `columns`, left to right.
function interactive(drawing, marks, columns) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  marks.forEach((mark, i) => mark.setAttribute("tabindex", i ? "-1" : "0"));
  const markOf = (event) => event.target.closest("[aria-label]");
  for (const kind of ["pointerover", "focusin"]) {
    drawing.addEventListener(kind, (event) => {
      const mark = markOf(event);
      if (details.has(mark)) showTooltip(mark);
      else hideTooltip();
    });
  }
  drawing.addEventListener("pointerleave", hideTooltip);
  drawing.addEventListener("focusout", hideTooltip);
  drawing.addEventListener("keydown", (event) => {
    const from = marks.indexOf(markOf(event));
    const ends = { Home: 0, End: marks.length - 1 };
    const to = marks[ends[event.key] ?? from + steps[event.key]];
    if (!to) return;
    event.preventDefault();
    marks[from].setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideTooltip();
});
window.addEventListener("scroll", placeTooltip, { passive: true, capture: true });
