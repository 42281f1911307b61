"use strict";
const runs = JSON.parse(document.getElementById("content").textContent);
const $ = (id) => document.getElementById(id);
const filters = $("filters");
const fields = filters.elements;
const ticked = new Set();
const order = { column: "started", descending: true };
const DASHES = ["", "7 4", "2 4", "10 3 2 3"];

const make = (tag, text, attributes = {}) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const unique = (values) => [...new Set(values)];
const written = (value) => {
  if (value === undefined || value === null) return "–";
  if (typeof value !== "number") return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1e4 || Math.abs(value) < 1e-4 ? value.toExponential(3) : String(+value.toPrecision(4));
};
const commit = (run) => run.commit.replace(/^([0-9a-f]{10})[0-9a-f]*/, "$1");
const label = (run) => `${run.name}, ${run.begun}`;
const day = (run) => run.started.slice(0, 10);

const COLUMNS = {
  name: ["Experiment", (run) => run.name],
  figure: ["", (run) => run.figures[fields.figure.value]],
  dataset: ["Data", (run) => run.dataset],
  started: ["Begun", (run) => run.started],
  commit: ["Commit", commit],
  finding: ["Result", (run) => run.finding],
};

// The table

function shown() {
  const { name, dataset, commit: of, from, until } = fields;
  return runs.filter(
    (run) =>
      (!name.value || run.name === name.value) &&
      (!dataset.value || run.dataset === dataset.value) &&
      (!of.value || commit(run) === of.value) &&
      (!from.value || day(run) >= from.value) &&
      (!until.value || day(run) <= until.value),
  );
}

function sorted(list) {
  const key = COLUMNS[order.column][1];
  const sign = order.descending ? -1 : 1;
  return [...list].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
  });
}

function choose(select, values, first) {
  const before = select.value;
  select.replaceChildren(make("option", first, { value: "" }));
  for (const value of values) select.append(make("option", value, { value }));
  if (values.includes(before)) select.value = before;
}

function chooseFigures(list) {
  const names = unique(list.flatMap((run) => Object.keys(run.figures))).sort();
  choose(fields.figure, names, "none");
}

function draw() {
  const list = shown();
  chooseFigures(list);
  const figure = fields.figure.value;
  const columns = Object.keys(COLUMNS).filter((column) => column !== "figure" || figure);
  if (!columns.includes(order.column)) order.column = "started";
  const head = make("tr");
  head.append(make("th", "", { scope: "col", "aria-label": "compare" }));
  for (const column of columns) {
    const cell = make("th", undefined, { scope: "col", "data-column": column });
    cell.append(make("button", column === "figure" ? figure.replaceAll("_", " ") : COLUMNS[column][0], { type: "button" }));
    cell.classList.toggle("number", column === "figure");
    if (column === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    head.append(cell);
  }
  document.querySelector("#runs thead").replaceChildren(head);
  document.querySelector("#runs tbody").replaceChildren(...sorted(list).map((run) => line(run, columns)));
  $("count").textContent = (list.length === runs.length ? "" : `${list.length} of `) + (runs.length === 1 ? "1 run" : `${runs.length} runs`);
}

function line(run, columns) {
  const row = make("tr", undefined, { "data-path": run.path });
  const box = make("input", undefined, { type: "checkbox", "aria-label": `compare ${label(run)}` });
  box.checked = ticked.has(run.path);
  box.addEventListener("change", () => tick(run, box.checked));
  const first = make("td");
  first.append(box);
  row.append(first);
  for (const column of columns) {
    const cell = make("td");
    if (column === "name") {
      cell.append(run.report ? make("a", run.name, { href: encodeURI(run.report) }) : run.name);
      if (run.preset === "quick") cell.append(make("span", " quick", { class: "quick", title: "its figures mean nothing" }));
    } else if (column === "started") {
      cell.append(run.begun, make("div", run.took, { class: "took" }));
    } else if (column === "figure") {
      cell.className = "number";
      cell.textContent = written(run.figures[fields.figure.value]);
    } else if (column === "finding") {
      cell.append(make("div", run.finding, { class: "found" }));
    } else if (column === "dataset") {
      cell.append(make("div", run.dataset, { class: "data" }));
    } else {
      cell.textContent = COLUMNS[column][1](run);
    }
    row.append(cell);
  }
  return row;
}

// The comparison

function tick(run, on) {
  if (on) ticked.add(run.path);
  else ticked.delete(run.path);
  const number = ticked.size;
  $("compare").disabled = number < 2;
  $("compare").textContent = number < 2 ? "Tick two runs to compare them" : `Compare ${number} runs`;
  if (!$("comparison").hidden) compare();
}

const chosen = () => runs.filter((run) => ticked.has(run.path));
const colour = (i) => `var(--c${i % 8})`;
const dashes = (i) => DASHES[i % DASHES.length];

function compare() {
  const list = chosen();
  $("comparison").hidden = list.length < 2;
  if (list.length < 2) return;
  $("key").replaceChildren(
    ...list.map((run, i) => {
      const entry = make("p");
      const swatch = make("span", "", { class: "swatch" });
      swatch.style.borderTopColor = colour(i);
      if (dashes(i)) swatch.style.borderTopStyle = "dashed";
      entry.append(swatch, `${i + 1}: `, run.report ? make("a", label(run), { href: encodeURI(run.report) }) : label(run));
      if (run.preset === "quick") entry.append(make("span", " quick", { class: "quick" }));
      return entry;
    }),
  );
  const about = (run) => ({ experiment: run.name, data: run.dataset, commit: commit(run), ...run.config });
  const settings = list.map(about);
  const differs = (key) => new Set(settings.map((of) => JSON.stringify(of[key]))).size > 1;
  sideBySide($("differences"), settings, differs, "The configurations are the same.");
  sideBySide($("figures"), list.map((run) => run.figures), () => true, "These runs have no figures yet.");
  const names = unique(list.flatMap((run) => Object.keys(run.curves)));
  const before = $("curve").value;
  $("curve").replaceChildren(...names.map((name) => make("option", name, { value: name })));
  const common = names.filter((name) => list.every((run) => name in run.curves));
  const first = common.find((name) => name.endsWith("loss")) ?? common[0] ?? names[0] ?? "";
  $("curve").value = names.includes(before) ? before : first;
  plot();
}

function sideBySide(table, columns, wanted, none) {
  const keys = unique(columns.flatMap((of) => Object.keys(of))).filter(wanted);
  if (!keys.length) return table.replaceChildren(make("caption", none));
  const head = make("tr");
  head.append(make("th", ""), ...columns.map((_, i) => make("th", `${i + 1}`, { scope: "col", class: "number" })));
  const body = keys.map((key) => {
    const row = make("tr");
    row.append(make("th", key, { scope: "row" }));
    row.append(...columns.map((of) => make("td", written(of[key]), { class: "number" })));
    return row;
  });
  const [thead, tbody] = [make("thead"), make("tbody")];
  thead.append(head);
  tbody.append(...body);
  table.replaceChildren(thead, tbody);
}

// The plot

const SVG = "http://www.w3.org/2000/svg";
const drawn = (tag, attributes, text) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

function ticks(low, high) {
  const raw = (high - low || Math.abs(high) || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => +((first + i) * step).toPrecision(12));
}

function plot() {
  const name = $("curve").value;
  const lines = chosen().map((run, i) => ({ i, points: run.curves[name] })).filter(({ points }) => points);
  if (!lines.length) return $("plot").replaceChildren(make("p", "These runs have no training curves.", { class: "soft" }));
  const [w, h, left, right, top, bottom] = [760, 400, 84, 34, 14, 52];
  const range = (axis) => {
    const all = lines.flatMap(({ points }) => points[axis]);
    return [Math.min(...all), Math.max(...all)];
  };
  const [[x0, x1], [y0, y1]] = [range(0), range(1)];
  const x = (v) => left + ((w - left - right) * (v - x0)) / (x1 - x0 || 1);
  const y = (v) => h - bottom - ((h - top - bottom) * (v - y0)) / (y1 - y0 || 1);
  const svg = drawn("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${name} of ${lines.length} runs` });
  for (const v of ticks(y0, y1)) {
    svg.append(drawn("line", { x1: left, x2: w - right, y1: y(v), y2: y(v), class: "grid" }));
    svg.append(drawn("text", { x: left - 8, y: y(v) + 5, "text-anchor": "end" }, written(v)));
  }
  for (const v of ticks(x0, x1)) svg.append(drawn("text", { x: x(v), y: h - bottom + 24, "text-anchor": "middle" }, written(v)));
  svg.append(drawn("text", { x: (left + w - right) / 2, y: h - 4, "text-anchor": "middle" }, "epoch (or step, where there are no epochs)"));
  for (const { i, points } of lines) {
    const path = points[0].map((v, k) => `${k ? "L" : "M"}${x(v).toFixed(1)} ${y(points[1][k]).toFixed(1)}`).join("");
    const line = drawn("path", { d: path, "stroke-dasharray": dashes(i), "data-run": i + 1 });
    line.style.stroke = colour(i);
    const end = drawn("text", { x: x(points[0].at(-1)) + 6, y: y(points[1].at(-1)) + 5 }, `${i + 1}`);
    end.style.fill = colour(i);
    svg.append(line, end);
  }
  $("plot").replaceChildren(svg);
}

// What a person does

document.querySelector("#runs thead").addEventListener("click", (event) => {
  const cell = event.target.closest("th[data-column]");
  if (!cell) return;
  const column = cell.dataset.column;
  Object.assign(order, { column, descending: order.column === column ? !order.descending : column === "started" || column === "figure" });
  draw();
});
filters.addEventListener("input", (event) => {
  if (event.target.name === "figure" && event.target.value) Object.assign(order, { column: "figure", descending: true });
  draw();
});
filters.addEventListener("reset", () => setTimeout(draw));
filters.addEventListener("submit", (event) => event.preventDefault());
$("compare").addEventListener("click", () => {
  compare();
  $("comparison").scrollIntoView({ behavior: "smooth" });
});
$("curve").addEventListener("input", plot);

for (const [name, of] of [["name", (run) => run.name], ["dataset", (run) => run.dataset], ["commit", commit]])
  choose(fields[name], unique(runs.map(of)).sort(), "all");
draw();
