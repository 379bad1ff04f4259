// The list of studies, and uploads.
import { ask, guarded, make, number, remove, say, stateOf, when } from "./common.js";

const POLL_MS = 1500;
const AT_ONCE = 4;
const drop = document.getElementById("drop");
const body = document.querySelector("#studies tbody");
const query = document.getElementById("query");
let shown = "";
let cancelled = false;

function ears(study) {
  const lines = Object.entries(study.summary.ears || {}).map(([side, ear]) => {
    const dsc = ear.expected_dsc === null ? "" : `, expected DSC ${ear.expected_dsc.toFixed(2)}`;
    const text = `${side}: ${number(ear.volume_mm3)} mm³${dsc}`;
    const warned = ear.warnings ? make("span", { className: "warned", textContent: ` ▲ ${ear.warnings} to review` }) : null;
    return make("div", {}, text, warned);
  });
  if (study.corrected_by) lines.push(make("div", { className: "note", textContent: `corrected by ${study.corrected_by}` }));
  return lines;
}

function row(study) {
  const open = study.latest
    ? make("a", { href: `/studies/${study.id}`, textContent: study.name })
    : make("span", { textContent: study.name });
  const kind = study.job ? "" : study.state === "done" ? "done" : study.state === "failed" ? "failed" : "";
  const state = make("td", {}, make("span", { className: kind, textContent: stateOf(study) }));
  if (!study.job && study.reason && study.state !== "done") state.append(make("div", { className: "note", textContent: study.reason }));
  const actions = make("td", { className: "actions" });
  const button = (text, action, className = "") => {
    const found = make("button", { type: "button", textContent: text, className });
    found.setAttribute("aria-label", `${text} ${study.name}`);
    found.addEventListener("click", guarded(async () => { await action(); await refresh(); }));
    actions.append(found);
  };
  if (study.job) button("Cancel", () => ask(`/api/studies/${study.id}/cancel`, { method: "POST" }));
  if (["failed", "cancelled"].includes(study.state) && !study.job) button("Try again", () => ask(`/api/studies/${study.id}/retry`, { method: "POST" }));
  button("Delete", () => remove(study.id, study.name), "danger");
  const described = study.description && !study.name.includes(study.description) ? study.description : "";
  return make(
    "tr", { dataset: { id: study.id, state: study.state } },
    make("td", {}, make("strong", {}, open), described ? make("div", { className: "note", textContent: described }) : null),
    make("td", {}, ...[study.patient, study.patient_id && `ID ${study.patient_id}`, study.study_date].filter(Boolean).map((text) => make("div", { textContent: text }))),
    state, make("td", {}, ...ears(study)), make("td", { textContent: when(study.created) }), actions,
  );
}

async function refresh() {
  const found = await ask(`/api/studies?q=${encodeURIComponent(query.value)}`);
  const text = JSON.stringify(found);
  if (text === shown) return;
  shown = text;
  const focused = document.activeElement?.getAttribute?.("aria-label");
  body.replaceChildren(...found.studies.map(row));
  if (focused) body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  const waiting = found.studies.filter((study) => study.job).length;
  const sorting = found.sorting ? "Searching the uploaded files for scans … " : "";
  document.getElementById("queue").textContent = sorting + (waiting ? `${waiting} in the queue` : "");
  const empty = document.getElementById("empty");
  empty.hidden = found.studies.length > 0;
  empty.textContent = query.value ? "No study matches." : "No studies yet.";
}

async function upload(files) {
  if (!files.length) return;
  const panel = document.getElementById("upload");
  const bar = document.getElementById("progress");
  const text = document.getElementById("upload-text");
  panel.hidden = false;
  cancelled = false;
  const { upload: id } = await ask("/api/uploads", { method: "POST" });
  const waiting = [...files];
  let done = 0;
  const one = async () => {
    while (waiting.length && !cancelled) {
      const { file, path } = waiting.shift();
      await ask(`/api/uploads/${id}/files?name=${encodeURIComponent(path)}`, { method: "PUT", body: file });
      done += 1;
      bar.value = done / files.length;
      text.textContent = `${done} of ${files.length} files`;
    }
  };
  try {
    text.textContent = `${files.length} files`;
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    if (cancelled) throw new Error("the upload was cancelled");
    await ask(`/api/uploads/${id}/end`, { method: "POST" });
    say(`${files.length} ${files.length === 1 ? "file" : "files"} uploaded`);
  } catch (error) {
    waiting.length = 0;
    await ask(`/api/uploads/${id}`, { method: "DELETE" }).catch(() => {});
    throw error;
  } finally {
    panel.hidden = true;
    bar.value = 0;
    await refresh();
  }
}

async function dropped(items) {
  const found = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await new Promise((good, bad) => entry.file(good, bad));
      found.push({ file, path: path + entry.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((good, bad) => reader.readEntries(good, bad));
      if (!some.length) break;
      for (const child of some) await walk(child, `${path}${entry.name}/`);
    }
  };
  for (const entry of items) await walk(entry, "");
  return found;
}

const chosen = (event) => {
  const files = [...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  event.target.value = "";
  return upload(files);
};
document.getElementById("files").addEventListener("change", guarded(chosen));
document.getElementById("folder").addEventListener("change", guarded(chosen));
document.getElementById("upload-cancel").addEventListener("click", () => { cancelled = true; });
document.getElementById("search").addEventListener("submit", (event) => event.preventDefault());
query.addEventListener("input", guarded(refresh));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", guarded(async (event) => {
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const files = [...event.dataTransfer.files].map((file) => ({ file, path: file.name }));
  await upload(entries.length ? await dropped(entries) : files);
}));

const tick = async () => {
  try { await refresh(); } catch { /* the server may be restarting */ }
  setTimeout(tick, POLL_MS);
};
tick();
