// Without this script the report shows all tables, and the charts of the best detector.
"use strict";

const byId = (id) => document.getElementById(id);
const rowsOf = (table) => [...table.tBodies[0].rows];
const detectorRows = [...document.querySelectorAll("tr[data-detector]")];

// ---- sorting: each column's heading becomes a button ----

function valueOf(row, place) {
  const cell = row.cells[place];
  if (place === 0 || cell.dataset.value === undefined) return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function compareValues(one, two) {
  return typeof one === "number" && typeof two === "number" ? one - two : String(one).localeCompare(String(two), "en", { numeric: true });
}

function sortBy(table, heads, place) {
  const before = heads[place].getAttribute("aria-sort");
  const first = place === 0 || table.dataset.better === "lower" ? "ascending" : "descending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = before === first ? other : first;
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[place].setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = rowsOf(table).map((row) => [valueOf(row, place), row]);
  keyed.sort(([one], [two]) => {
    if (one === null || two === null) return (one === null) - (two === null);
    return sign * compareValues(one, two);
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, heads, place));
  });
}

// ---- one detector's charts at a time ----

function showDetector(place) {
  byId("detector").value = place;
  byId("charts").replaceChildren(byId(`charts-${place}`).content.cloneNode(true));
  for (const row of detectorRows) row.classList.toggle("shown", row.dataset.detector === place);
}

for (const row of detectorRows) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = "show its charts";
  button.append(...row.cells[0].childNodes);
  row.cells[0].append(button);
  button.addEventListener("click", () => {
    showDetector(row.dataset.detector);
    byId("scores").scrollIntoView();
    byId("detector").focus({ preventScroll: true });
  });
}
byId("detector").addEventListener("change", ({ target }) => showDetector(target.value));

// ---- searching ----

function search(text) {
  const wanted = text.trim().toLowerCase();
  for (const row of detectorRows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  const rows = rowsOf(byId("paper"));
  byId("found").textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} methods` : "";
}

byId("find").addEventListener("input", ({ target }) => search(target.value));

for (const one of document.querySelectorAll(".scripted")) one.hidden = false;
search(byId("find").value);
showDetector(byId("detector").value);
