// Building blocks of the page. Text is only ever set as text, so names cannot become markup.

const SVG_NAMESPACE = document.getElementById("svg-namespace").namespaceURI;

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function html(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function markBadge(mark) {
  return html("span", { class: `mark mark-${mark}`, title: MARKS[mark] }, mark);
}

function bitsChip(bits) {
  return html("span", { class: `chip bits-${bits}` }, String(bits));
}

// columns: {title, numeric}; rows: {cells, class}; the first cell of a row is its header.
function table(caption, columns, rows) {
  const heads = columns.map((column) =>
    html("th", { scope: "col", class: column.numeric ? "numeric" : null }, column.title));
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    html("table", {},
      html("caption", { class: "unseen" }, caption),
      html("thead", {}, html("tr", {}, ...heads)),
      html("tbody", {}, ...rows.map((row) => tableRow(columns, row)))));
}

function tableRow(columns, row) {
  const cells = row.cells.map((cell, i) => {
    const kind = columns[i].numeric ? "numeric" : null;
    return html(i ? "td" : "th", { class: kind, scope: i ? null : "row" }, cell);
  });
  return html("tr", { class: row.class ?? null }, ...cells);
}

function paragraph(text, kind = null) {
  return html("p", { class: kind }, text);
}

// Charts are drawn in the pixels they have, and drawn again when these change.
const charts = [];

function chart(draw) {
  const place = html("div", { class: "chart" });
  charts.push({ place, draw, width: 0 });
  return place;
}

function drawCharts() {
  for (const each of charts) {
    const width = each.place.clientWidth;
    if (width && width !== each.width) {
      each.width = width;
      each.place.replaceChildren(each.draw(width));
    }
  }
}

function canvas(width, height, label, ...children) {
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label },
    ...children);
  drawing.style.maxWidth = `${width}px`;
  return drawing;
}
