"use strict";

const data = JSON.parse(document.getElementById("data").textContent);

/* Elements. Text becomes text, never markup. */

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

const draw = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) ? "−" : "+") + text; // no −0.00
}

/* Sorting. */

function valueOf(cell, isNumber) {
  if (!isNumber) return cell.textContent;
  return cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
}

function sort(table, head) {
  const flipped = { ascending: "descending", descending: "ascending" };
  const direction = flipped[head.ariaSort] || head.dataset.first;
  for (const other of table.tHead.rows[0].cells) other.ariaSort = other === head ? direction : "none";
  const isNumber = head.classList.contains("number");
  const sign = direction === "ascending" ? 1 : -1;
  const rows = Array.from(table.tBodies[0].rows, (row) => [valueOf(row.cells[head.cellIndex], isNumber), row]);
  rows.sort(([a, rowA], [b, rowB]) => {
    const notes = rowA.matches(".note") - rowB.matches(".note"); // which stay below the line
    if (notes) return notes;
    if (!isNumber) return sign * a.localeCompare(b, "en", { numeric: true });
    return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0; // what has no number comes last
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("thead th");
  if (head && event.target.closest("button")) sort(head.closest("table"), head);
});

/* The leaderboard's filters, and its best numbers among those shown. */

const board = document.querySelector("#leaderboard table");
const filters = document.getElementById("filters");

function markBest() {
  const groups = new Map();
  for (const row of board.tBodies[0].rows) {
    for (const cell of row.querySelectorAll(".best")) cell.classList.remove("best");
    const key = JSON.stringify([row.dataset.source, row.dataset.scale, row.dataset.dataset]);
    if (!row.hidden) groups.set(key, [...(groups.get(key) || []), row]);
  }
  for (const head of board.querySelectorAll("th[data-better]"))
    for (const rows of groups.values())
      for (const cell of leaders(rows.map((row) => row.cells[head.cellIndex]), head.dataset.better === "higher"))
        cell.classList.add("best");
}

/* The best, and those closer to it than their spreads together; who has one seed is taken to vary as the others do. */
function leaders(cells, higher) {
  const known = cells.filter((cell) => cell.dataset.value !== undefined);
  const spreads = known.filter((cell) => cell.dataset.spread !== undefined).map((cell) => Number(cell.dataset.spread));
  const usual = spreads.reduce((sum, spread) => sum + spread, 0) / (spreads.length || 1);
  const noise = (cell) => Number(cell.dataset.spread ?? usual);
  const value = (cell) => (higher ? 1 : -1) * Number(cell.dataset.value);
  const top = known.reduce((best, cell) => (best && value(best) >= value(cell) ? best : cell), undefined);
  return known.filter((cell) => value(top) - value(cell) <= Math.hypot(noise(top), noise(cell)));
}

function filter() {
  const words = filters.querySelector("input").value.toLowerCase().split(/\s+/);
  const choices = [...filters.querySelectorAll("select")].filter((select) => select.value);
  const rows = [...board.tBodies[0].rows];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = choices.every((select) => row.dataset[select.name] === select.value);
    row.hidden = !(fits && words.every((word) => text.includes(word)));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  filters.querySelector("output").textContent = `${shown} of ${rows.length} lines`;
  markBest();
}

filters.addEventListener("input", filter);
filter();

/* Bias profiles: bars for each task of the models that are ticked. */

const charts = document.getElementById("charts");
const boxes = [...document.querySelectorAll("#models input")];

function niceStep(span) {
  const power = 10 ** Math.floor(Math.log10(span / 5));
  return power * [1, 2, 5, 10].find((factor) => span / (factor * power) <= 6);
}

function chart(group, models, width) {
  const [height, left, top, bottom] = [280, 48, 12, 26];
  const values = models.flatMap((model) => [...model.improvement, ...model.seeds.flat(), 0]);
  const step = niceStep(Math.max(...values) - Math.min(...values) || 1);
  const [low, high] = [Math.floor(Math.min(...values) / step), Math.ceil(Math.max(...values) / step)];
  const y = (value) => top + ((high * step - value) / ((high - low || 1) * step)) * (height - top - bottom);
  const names = models.map((model) => model.name).join(", ");
  const label = `Bars of the relative improvement over the frozen ViT, ${group.title}: ${names}`;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  for (let tick = low; tick <= high; tick++) {
    const at = y(tick * step);
    svg.append(draw("line", { x1: left, x2: width, y1: at, y2: at, class: tick ? "grid" : "zero" }));
    const text = tick ? signed(tick * step, Math.max(0, -Math.floor(Math.log10(step)))) : "0";
    svg.append(draw("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, `${text} %`));
  }
  const room = (width - left) / group.tasks.length;
  const thick = Math.min((0.84 * room) / models.length, 40);
  group.tasks.forEach((task, place) => {
    const middle = left + (place + 0.5) * room;
    svg.append(draw("text", { x: middle, y: height - 6, "text-anchor": "middle" }, task));
    models.forEach((model, number) => {
      const x = middle + (number - models.length / 2) * thick;
      const value = model.improvement[place];
      const [from, to] = [y(Math.max(value, 0)), y(Math.min(value, 0))];
      const title = draw("title", {}, `${model.name}, ${task}: ${signed(value, 2)} %`);
      const size = { x: x + 0.05 * thick, y: from, width: 0.9 * thick, height: to - from };
      svg.append(draw("rect", { ...size, fill: data.colours[model.name], class: "bar" }, title));
      model.seeds.forEach((seed, which) => {
        const across = 0.44 * (which / (model.seeds.length - 1) - 0.5);
        svg.append(draw("circle", { cx: x + (0.5 + across) * thick, cy: y(seed[place]), r: 2, class: "seed" }));
      });
    });
  });
  return svg;
}

/* A table in a box in which it scrolls; all columns but the first are numbers. */
function tableOf(about, heads, rows) {
  const cells = heads.map((text, place) => make("th", { scope: "col", class: place ? "number" : "" }, text));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...cells)), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": about }, table);
}

function profileTable(group, models) {
  const heads = ["model", "μ", "σ", "μ/σ", ...group.tasks];
  const number = (model, text) => {
    if (model.number === null) return make("td", { class: "number" }, text);
    return make("td", { class: "number" }, make("button", { type: "button", "data-number": model.number }, text));
  };
  const rows = models.map((model) => {
    const [mean, sd, ratio] = model.summary;
    const texts = [signed(mean, 2), sd.toFixed(2), ratio === null ? "" : signed(ratio, 2)];
    texts.push(...model.improvement.map((value) => signed(value, 2)));
    const square = draw("rect", { width: 12, height: 12, rx: 2, fill: data.colours[model.name], class: "bar" });
    const swatch = draw("svg", { viewBox: "0 0 12 12", class: "swatch", "aria-hidden": "true" }, square);
    return make("tr", {}, make("th", { scope: "row" }, swatch, model.name), ...texts.map((text) => number(model, text)));
  });
  return tableOf(group.title, heads, rows);
}

function compare() {
  const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
  const parts = data.profiles.map((group) => make("div", { class: "profile" }, make("h3", {}, group.title)));
  charts.replaceChildren(...parts); // all of them before the first is drawn: they share the width
  for (const [place, group] of data.profiles.entries()) {
    const models = chosen.flatMap((name) => group.models.filter((model) => model.name === name));
    const part = parts[place];
    if (models.length) part.append(chart(group, models, part.clientWidth), profileTable(group, models));
    else part.append(make("p", {}, "None of the models that are ticked has a profile here."));
  }
  if (!data.profiles.length) charts.append(make("p", {}, "There is no frozen ViT to compare with."));
}

for (const box of boxes) box.addEventListener("change", compare);
let width = 0;
new ResizeObserver(() => {
  if (charts.clientWidth !== width) {
    width = charts.clientWidth;
    compare();
  }
}).observe(charts);

/* Where a number comes from. */

const dialog = document.getElementById("provenance");

function runDetails(id) {
  const facts = data.runs[id].map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text)));
  return make("details", { "data-details": id }, make("summary", {}, data.runs[id][0][1]), make("dl", {}, ...facts));
}

function seedsTable(numbers) {
  const rows = numbers.flatMap((number) =>
    number.seeds.map(([seed, value, run], place) =>
      make("tr", {},
        ...(place ? [] : [make("td", { rowspan: number.seeds.length }, `${number.title} (${number.metric})`)]),
        make("td", { class: "number" }, String(seed)),
        make("td", { class: "number" }, value.toFixed(4)),
        make("td", { class: "number" }, make("button", { type: "button", "data-open": run }, run)))));
  return tableOf("Numbers of the runs", ["number", "seed", "value", "run"], rows);
}

function showNumber(index) {
  const number = data.numbers[index];
  const parts = number.of ? number.of.map((other) => data.numbers[other]) : [number];
  const runs = new Set(parts.flatMap((part) => part.seeds.map((seed) => seed[2])));
  const protocols = new Set(parts.map((part) => part.protocol).filter((protocol) => protocol));
  show(number.title,
    make("p", {}, number.how || `${number.place}. The mean over seeds; ± is the standard deviation.`),
    seedsTable(parts),
    ...[...protocols].map((protocol) => make("p", { class: "protocol" }, `protocol: ${protocol}`)),
    ...[...runs].map(runDetails));
}

function show(title, ...content) {
  document.getElementById("provenance-title").textContent = title;
  dialog.querySelector(".content").replaceChildren(...content);
  const runs = dialog.querySelectorAll("details");
  if (runs.length === 1) runs[0].open = true;
  dialog.showModal();
  dialog.scrollTop = 0;
}

/** Whether a click on the dialog itself is beside its box, on what lies behind. */
function isBeside(event) {
  const box = dialog.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if ((event.target === dialog && isBeside(event)) || button?.matches(".close")) dialog.close();
  else if (button?.dataset.number) showNumber(button.dataset.number);
  else if (button?.dataset.run) show(`Run ${button.dataset.run}`, runDetails(button.dataset.run));
  else if (button?.dataset.open) {
    const details = [...dialog.querySelectorAll("details")].find((one) => one.dataset.details === button.dataset.open);
    details.open = true;
    details.querySelector("summary").focus();
    details.scrollIntoView();
  }
});
