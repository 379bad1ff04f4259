// One study: its viewer, corrections, versions and files.
import { ask, guarded, make, number, remove, say, stateOf, when } from "./common.js";
import { EarView, WINDOWS } from "./viewer.js";

const POLL_MS = 1500;
const LAYERS = ["parts", "uncertainty"];
const FIGURES = [
  ["labyrinth_volume", "Labyrinth volume"], ["cochlea_a", "A value"], ["cochlea_b", "B value"],
  ["duct_length_lw", "Cochlear duct length, lateral wall"], ["cochlea_turns", "Cochlear turns"],
  ["oval_to_round_window", "Oval to round window"], ["completeness_likert", "Completeness (1 = complete)"],
];
const UNITS = { mm3: "mm³", deg: "°" };
const get = (id) => document.getElementById(id);
const id = get("study").dataset.id;
const base = `/api/studies/${id}`;
let study = null;
let version = null;
let meta = null;
let views = [];
let area = "both";

const folder = () => `${base}/versions/${version}`;

async function refresh() {
  const before = study?.latest;
  study = await ask(base);
  get("state").textContent = stateOf(study) + (study.reason && study.state !== "done" ? `: ${study.reason}` : "");
  get("cancel").hidden = !study.job;
  get("retry").hidden = Boolean(study.job) || !["failed", "cancelled"].includes(study.state);
  listVersions();
  if (study.latest && study.latest !== before) {
    if (before) say(`Version ${study.latest} is available`);
    await show(study.latest);
  }
  const failed = study.versions.findLast((one) => one.state === "failed" && one.number > 1);
  if (failed && failed.number > (study.latest || 0) && refresh.reported !== failed.number) {
    refresh.reported = failed.number;
    say(`The correction was not accepted: ${failed.reason}`);
  }
}

function listVersions() {
  const done = study.versions.filter((one) => one.state === "done");
  const text = (one) => (one.number === 1 ? `1: analysis, ${when(one.created)}` : `${one.number}: ${one.author}, ${when(one.created)}`);
  const options = done.map((one) => make("option", { value: one.number, textContent: text(one), selected: one.number === version }));
  if (get("version").children.length !== options.length) get("version").replaceChildren(...options);
}

async function show(chosen) {
  if (views.some((view) => view.changed) && !confirm("Unsaved changes will be lost. Continue?")) return;
  version = chosen;
  get("version").value = chosen;
  get("results").hidden = false;
  await showResults();
  meta = await ask(`${folder()}/view`);
  get("viewer").hidden = false;
  for (const kind of LAYERS) get(kind).disabled = !available(kind);
  get("legend").replaceChildren(...meta.parts.map(({ title, colour }) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = `rgb(${colour.join(",")})`;
    return make("li", {}, swatch, title);
  }));
  const sides = meta.areas.filter((one) => one !== "whole");
  const offered = sides.length > 1 ? ["both", ...meta.areas] : meta.areas;
  if (!offered.includes(area)) area = offered[0];
  const titles = { both: "Both ears", right: "Right ear", left: "Left ear", whole: "Whole scan" };
  get("areas").replaceChildren(make("legend", { textContent: "Show" }), ...offered.map((one) => {
    const input = make("input", { type: "radio", name: "area", value: one, checked: one === area });
    input.addEventListener("change", guarded(() => look(one)));
    return make("label", { className: "choice" }, input, make("span", { textContent: titles[one] }));
  }));
  await look(area, true);
}

async function look(chosen, fresh = false) {
  if (chosen === area && !fresh && views.length) return;
  if (!fresh && views.some((view) => view.changed) && !confirm("Unsaved changes will be lost. Continue?")) {
    document.querySelector(`input[name=area][value=${area}]`).checked = true;
    return;
  }
  area = chosen;
  for (const view of views) view.destroy();
  // The right ear is on the left, as seen by a surgeon facing the patient.
  const shown = area === "both" ? meta.areas.filter((one) => one !== "whole") : [area];
  views = shown.map((one) => new EarView(folder(), one, meta, changed));
  get("views").replaceChildren(...views.map((view) => view.element));
  for (const view of views) {
    await view.load();
    view.setWindow(get("window").selectedIndex);
    view.setOpacity(Number(get("opacity").value));
    view.showMarks = get("marks").checked;
    view.showLines = get("lines").checked;
    for (const kind of LAYERS) if (get(kind).checked && available(kind)) await view.setLayer(kind, true);
    view.redraw();
  }
  setPen();
  changed();
  document.body.dataset.shown = `${version}/${area}`;
}

const available = (kind) => (kind === "parts" ? meta.parts.length > 0 : meta[kind]);

// The mask covers the same voxels as its parts: it is hidden while they are shown.
async function setLayer(kind) {
  const shown = get(kind).checked;
  if (kind === "parts") {
    get("legend").hidden = !shown;
    const slider = get("opacity");
    if (shown) slider.dataset.before = slider.value;
    slider.value = shown ? 0 : slider.dataset.before;
    slider.dispatchEvent(new Event("input"));
  }
  for (const view of views) await view.setLayer(kind, shown);
}

async function showResults() {
  const result = await ask(`${folder()}/files/result.json`);
  const ears = result.ears;
  get("figures").tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "Measurement" }),
    ...ears.map((ear) => make("th", { scope: "col", textContent: `${ear.side} ear` }))));
  get("figures").tBodies[0].replaceChildren(...FIGURES.map(([name, title]) => make("tr", {},
    make("th", { scope: "row", textContent: title }),
    ...ears.map((ear) => {
      const cell = ear.measurements[name];
      if (!cell) return make("td");
      if (cell.value === null) return make("td", { className: "note", textContent: cell.withheld });
      return make("td", { textContent: `${number(cell.value)} ${UNITS[cell.unit] || cell.unit}` });
    }))));
  const sentences = [...result.warnings, ...ears.flatMap((ear) => ear.warnings)];
  get("warnings").hidden = !sentences.length;
  get("warnings").replaceChildren(...sentences.map((text) => make("li", { textContent: `▲ ${text}` })));
  const row = study.versions.find((one) => one.number === version);
  const who = version === 1 ? "" : `Corrected by ${row.author} on ${when(row.created)}${row.note ? ` (${row.note})` : ""}: `;
  get("changes").textContent = who + (version === 1 ? "" : row.changes.join("; ") || "no changes");
  get("report").href = `${folder()}/files/report.html`;
  get("all").href = `${folder()}/all.zip`;
  const names = ["result.json", ...Object.values(result.files)];
  get("downloads").replaceChildren(...names.map((name) => make("li", {}, make("a", { href: `${folder()}/files/${name}?download`, textContent: name }))));
}

function changed() {
  const some = views.some((view) => view.changed);
  get("unsaved").textContent = some ? "Changes are not saved" : "No changes";
  get("unsaved").className = some ? "warned" : "note";
  get("save-button").disabled = !some;
}

function setPen() {
  const pen = document.querySelector("input[name=pen]:checked").value;
  for (const view of views) view.setPen(pen, Number(get("pen-size").value));
  const fixed = views.some((view) => !view.editable);
  get("pens").disabled = fixed;
  get("pens").title = fixed ? "The mask of a scan of this size is corrected ear by ear." : "";
}

// Each changed view becomes a version; with two ears, the second is based on the first.
async function save() {
  let target = version;
  for (const view of views.filter((one) => one.changed)) {
    const form = new FormData();
    form.set("author", get("author").value);
    form.set("note", get("note").value);
    form.set("area", view.area);
    form.set("landmarks", JSON.stringify({ ...marks(), ...view.landmarks() }));
    if (view.maskChanged) form.set("mask", await view.mask(), "mask.nii.gz");
    const { number: made } = await ask(`${base}/versions/${target}/corrections`, { method: "POST", body: form });
    say("Saved. Measuring …");
    if (views.filter((one) => one.changed && one !== view).length) target = await finished(made);
    view.maskChanged = false;
    for (const mark of view.marks) mark.moved = false;
  }
  localStorage.setItem("otovox-author", get("author").value);
  get("note").value = "";
  changed();
  await refresh();
}

function marks() {
  const all = structuredClone(meta.landmarks);
  for (const view of views) Object.assign(all, view.landmarks());
  return all;
}

async function finished(made) {
  for (;;) {
    const row = (await ask(base)).versions.find((one) => one.number === made);
    if (row.state === "done") return made;
    if (row.state === "failed") throw new Error(row.reason);
    await new Promise((good) => setTimeout(good, 500));
  }
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !views.length) return;
  if (event.target.matches("input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea")) return;
  const choose = (selector) => { const found = document.querySelector(selector); if (found) found.click(); };
  const moves = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
  const areas = { r: "right", l: "left", b: "both", w: "whole" };
  const pens = { p: "paint", e: "erase", v: "none" };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const inView = event.target.tagName === "CANVAS" || event.target === document.body;
  if (moves[key] && inView) for (const view of views) view.step(...moves[key]);
  else if ("1234".includes(key) && key) { get("window").selectedIndex = Number(key) - 1; get("window").dispatchEvent(new Event("change")); }
  else if (areas[key]) choose(`input[name=area][value=${areas[key]}]`);
  else if (pens[key]) choose(`input[name=pen][value=${pens[key]}]`);
  else if (key === "u") get("undo").click();
  else if (key === "a") get("parts").click();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

get("window").append(...WINDOWS.map(([title]) => make("option", { textContent: title })));
get("window").addEventListener("change", () => views.forEach((view) => view.setWindow(get("window").selectedIndex)));
get("opacity").addEventListener("input", () => views.forEach((view) => view.setOpacity(Number(get("opacity").value))));
for (const kind of LAYERS) get(kind).addEventListener("change", guarded(() => setLayer(kind)));
for (const [name, property] of [["marks", "showMarks"], ["lines", "showLines"]]) {
  get(name).addEventListener("change", () => views.forEach((view) => { view[property] = get(name).checked; view.redraw(); }));
}
get("pens").addEventListener("change", setPen);
get("undo").addEventListener("click", () => views.forEach((view) => view.maskChanged && view.undo()));
get("help-button").addEventListener("click", () => {
  get("help").hidden = !get("help").hidden;
  get("help-button").setAttribute("aria-expanded", String(!get("help").hidden));
});
get("version").addEventListener("change", guarded(() => show(Number(get("version").value))));
get("author").value = localStorage.getItem("otovox-author") || "";
get("save").addEventListener("submit", (event) => { event.preventDefault(); guarded(save)(); });
get("cancel").addEventListener("click", guarded(async () => { await ask(`${base}/cancel`, { method: "POST" }); await refresh(); }));
get("retry").addEventListener("click", guarded(async () => { await ask(`${base}/retry`, { method: "POST" }); await refresh(); }));
get("delete").addEventListener("click", guarded(async () => { if (await remove(id, study?.name || "study")) location.href = "/"; }));
window.addEventListener("keydown", keys, true);
window.addEventListener("beforeunload", (event) => { if (views.some((view) => view.changed)) event.preventDefault(); });

const tick = async () => {
  await guarded(refresh)();
  setTimeout(tick, study?.job || study?.versions.some((one) => ["queued", "running"].includes(one.state)) ? POLL_MS : 4 * POLL_MS);
};
tick();
