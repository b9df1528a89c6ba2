"use strict";

// The address after # is the only state: class, page, find, key. Each change of it draws the page anew.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const CLASSES_PER_PAGE = 25;
const MOST_FOUND = 100;
const GAP = 4;
const USUAL_TILE = 100;
let across = 0; // tiles in a row, and their side: they fill the width
let tileSide = 0;

const keyOf = (index) => String(index).padStart(9, "0");
const number = (value) => value.toLocaleString("en");
const shown = data.classes.flatMap((one, label) => one.samples.map((_, place) => ({ label, place })));
const sampleAt = ({ label, place }) => data.classes[label].samples[place];
const placeOfIndex = new Map(shown.map((position, place) => [sampleAt(position)[0], place]));

const lazily = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      lazily.unobserve(target);
      target.style.backgroundImage = target.sheet;
    }
  }
}, { rootMargin: "300px" });

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// ---- the address ----

const readAddress = () => new URLSearchParams(location.hash.slice(1));

function addressWith(changes) {
  const address = readAddress();
  for (const [name, value] of Object.entries(changes)) {
    if (value) address.set(name, value);
    else address.delete(name);
  }
  return `#${address}`;
}

const go = (changes) => { location.hash = addressWith(changes); };
const goWithoutTrace = (changes) => location.replace(addressWith(changes));

// ---- tiles ----

function paint(target, { label, place }, side) {
  const { samples, sheets } = data.classes[label];
  const within = place % data.perSheet;
  const onSheet = Math.min(data.perSheet, samples.length - (place - within));
  const columns = Math.min(data.columns, onSheet);
  const rows = Math.ceil(onSheet / columns);
  target.style.width = target.style.height = `${side}px`;
  target.style.backgroundSize = `${columns * side}px ${rows * side}px`;
  target.style.backgroundPosition = `${-(within % columns) * side}px ${-Math.floor(within / columns) * side}px`;
  target.classList.toggle("crisp", side >= data.side);
  return `url("thumbnails/${sheets[Math.floor(place / data.perSheet)]}")`;
}

function measure() {
  const width = byId("images").clientWidth + GAP;
  across = Math.max(3, Math.round(width / (USUAL_TILE + GAP)));
  tileSide = Math.floor(width / across) - GAP;
}

function tile(position) {
  const key = keyOf(sampleAt(position)[0]);
  const made = element("button", "tile");
  made.type = "button";
  made.dataset.key = key;
  made.setAttribute("aria-label", `${data.classes[position.label].name}, image ${key}`);
  made.sheet = paint(made, position, tileSide);
  made.addEventListener("click", () => go({ key }));
  lazily.observe(made);
  return made;
}

function strip(positions) {
  const made = element("div", "strip");
  made.append(...positions.map(tile));
  return made;
}

function section(label, most) {
  const { name, count, samples } = data.classes[label];
  const made = element("section");
  const heading = element("h2");
  const open = element("button", "", name);
  open.type = "button";
  open.addEventListener("click", () => go({ class: name, page: "", find: "" }));
  heading.append(open, element("span", "", `${number(samples.length)} of ${number(count)}`));
  made.append(heading, strip(samples.slice(0, most).map((_, place) => ({ label, place }))));
  return made;
}

// ---- views ----

function pieceOf(items, address, size) {
  const pages = Math.max(1, Math.ceil(items.length / size));
  const page = Math.min(pages, Math.max(1, Number.parseInt(address.get("page"), 10) || 1));
  byId("pages").hidden = pages === 1;
  byId("page").textContent = `page ${number(page)} of ${number(pages)}`;
  byId("back").disabled = page === 1;
  byId("on").disabled = page === pages;
  byId("back").onclick = () => go({ page: page > 2 ? page - 1 : "" });
  byId("on").onclick = () => go({ page: page + 1 });
  return items.slice((page - 1) * size, page * size);
}

function showClass(label, address) {
  const { name, count, samples } = data.classes[label];
  const positions = samples.map((_, place) => ({ label, place }));
  byId("status").textContent = `${name}: ${number(samples.length)} of ${number(count)} images shown`;
  return [strip(pieceOf(positions, address, data.perSheet))];
}

function showClasses(labels, address) {
  return pieceOf(labels, address, CLASSES_PER_PAGE).map((label) => section(label, across));
}

function find(text, address) {
  const wanted = text.toLowerCase();
  const labels = data.classes.flatMap(({ name }, label) => (name.toLowerCase().includes(wanted) ? [label] : []));
  const digits = /^\d{1,9}$/.test(text);
  const exact = digits ? placeOfIndex.get(Number(text)) : undefined;
  const others = digits ? shown.filter((position) => keyOf(sampleAt(position)[0]).includes(text)) : [];
  const images = exact === undefined ? others : [shown[exact], ...others.filter((one) => one !== shown[exact])];
  const hidden = digits && exact === undefined && Number(text) < data.samples;
  byId("status").textContent = `${number(labels.length)} classes, ${number(images.length)} images found`
    + (hidden ? `; image ${keyOf(text)} is in the set, not on this page` : "");
  const classes = showClasses(labels, address);
  return images.length ? [strip(images.slice(0, MOST_FOUND)), ...classes] : classes;
}

function showView(address) {
  const label = data.classes.findIndex(({ name }) => name === address.get("class"));
  const text = (address.get("find") ?? "").trim();
  byId("class").value = label < 0 ? "" : String(label);
  if (byId("find").value.trim() !== text) byId("find").value = text;
  byId("status").textContent = `${number(shown.length)} of ${number(data.samples)} images shown`;
  lazily.disconnect();
  measure();
  if (text) byId("images").replaceChildren(...find(text, address));
  else if (label >= 0) byId("images").replaceChildren(...showClass(label, address));
  else byId("images").replaceChildren(...showClasses(data.classes.map((_, place) => place), address));
}

// ---- one image ----

function showFacts(facts) {
  const lines = facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]);
  byId("facts").replaceChildren(...lines);
}

function showImage(place) {
  const position = shown[place];
  const [index, own] = sampleAt(position);
  const { name } = data.classes[position.label];
  const key = keyOf(index);
  const common = { index, label: position.label, class: name, recipe: data.recipe };
  const lines = JSON.stringify(common, null, 2).slice(2, -2);
  const { seed } = JSON.parse(`{${own}}`);
  const room = Math.min(512, innerWidth - 60, innerHeight - 60);
  const side = data.side > room ? room : data.side * Math.floor(room / data.side);
  byId("picture").style.backgroundImage = paint(byId("picture"), position, side);
  byId("picture").setAttribute("aria-label", `${name}, image ${key}, enlarged`);
  byId("title").textContent = key;
  const size = `${data.size}x${data.size} pixels${data.side < data.size ? `, here ${data.side}x${data.side}` : ""}`;
  const seeds = seed === undefined ? [] : [["seed", String(seed)]];
  const among = `${number(place + 1)} of ${number(shown.length)}`;
  showFacts([["class", name], ...seeds, ["recipe", data.recipe], ["size", size], ["image", among]]);
  byId("json").textContent = own ? `{\n${lines},\n${own}\n}` : `{\n${lines}\n}`;
  byId("again").hidden = data.command === null;
  byId("command").textContent = data.command?.join(key) ?? "";
  for (const [id, other] of [["previous", place - 1], ["next", place + 1]]) {
    byId(id).disabled = !shown[other];
    byId(id).onclick = () => shown[other] && goWithoutTrace({ key: keyOf(sampleAt(shown[other])[0]) });
  }
}

function showViewer(address) {
  const viewer = byId("viewer");
  const key = address.get("key") ?? "";
  const place = /^\d{1,9}$/.test(key) ? placeOfIndex.get(Number(key)) : undefined;
  if (place !== undefined) {
    showImage(place);
    if (!viewer.open) viewer.showModal();
  } else if (viewer.open) {
    const seen = byId("title").textContent;
    viewer.close();
    document.querySelector(`.tile[data-key="${seen}"]`)?.focus();
  }
  if (key && place === undefined) byId("status").textContent = "the image of that key is not on this page";
}

// ---- together ----

let drawn = null;

function draw() {
  const address = readAddress();
  const view = ["class", "page", "find"].map((name) => address.get(name)).join("\n");
  if (view !== drawn) {
    drawn = view;
    showView(address);
  }
  showViewer(address);
}

function moveFocus(event) {
  const tiles = [...document.querySelectorAll(".tile")];
  const here = tiles.indexOf(document.activeElement);
  if (here < 0) return;
  const inRow = (sign) => tiles.filter((one) => Math.sign(one.offsetTop - tiles[here].offsetTop) === sign);
  const down = (one) => Math.abs(one.offsetTop - tiles[here].offsetTop);
  const far = (one) => 1e4 * down(one) + Math.abs(one.offsetLeft - tiles[here].offsetLeft);
  const nearest = (candidates) => candidates.reduce((best, one) => (!best || far(one) < far(best) ? one : best), null);
  const targets = {
    ArrowLeft: () => tiles[here - 1],
    ArrowRight: () => tiles[here + 1],
    ArrowUp: () => nearest(inRow(-1)),
    ArrowDown: () => nearest(inRow(1)),
  };
  const target = targets[event.key]?.();
  if (target) {
    event.preventDefault();
    target.focus();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select")) return;
  if (!byId("viewer").open) moveFocus(event);
  else if (event.key === "ArrowLeft") byId("previous").click();
  else if (event.key === "ArrowRight") byId("next").click();
});
byId("viewer").addEventListener("cancel", (event) => { event.preventDefault(); go({ key: "" }); });
byId("viewer").addEventListener("click", (event) => { if (event.target === byId("viewer")) go({ key: "" }); });
byId("close").addEventListener("click", () => go({ key: "" }));
byId("class").append(...data.classes.map(({ name }, label) => {
  const option = element("option", "", name);
  option.value = String(label);
  return option;
}));
byId("class").addEventListener("change", ({ target }) => go({ class: data.classes[target.value]?.name, page: "", find: "" }));
byId("find").addEventListener("input", ({ target }) => goWithoutTrace({ find: target.value.trim(), page: "" }));
byId("find").addEventListener("keydown", ({ key, target }) => {
  if (key === "Enter") (document.querySelector(".tile") ?? target).click();
});
addEventListener("hashchange", draw);
let seenWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === seenWidth) return; // a phone's address bar came or went
  seenWidth = innerWidth;
  drawn = null;
  draw();
});
draw();
