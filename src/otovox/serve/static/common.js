// Shared by the pages: requests, elements, messages, texts of states.

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let problem = answer.statusText;
  try { problem = (await answer.json()).problem || problem; } catch { /* plain text */ }
  throw new Error(problem);
}

export function make(name, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset || {});
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(text) {
  const line = make("p", { textContent: text });
  document.getElementById("status").append(line);
  setTimeout(() => line.remove(), 8000);
}

export function guarded(action) {
  return async (...given) => {
    try { return await action(...given); } catch (error) { say(error.message); return undefined; }
  };
}

const STATES = {
  arriving: "arriving", queued: "waiting", running: "working", done: "done",
  "no ear": "no inner ear found", failed: "not analysed", cancelled: "cancelled",
};

export function stateOf(study) {
  const job = study.job;
  if (!job) return STATES[study.state] || study.state;
  const what = job.kind === "measure" ? "measuring the correction" : "analysing";
  const stage = job.state === "running" ? `${what}: ${job.stage || "starting"}` : "waiting";
  return `${stage}, about ${duration(job.left_s)} left`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.round(seconds / 60)} min`;
}

export function number(value) {
  if (value === null || value === undefined) return "";
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

export const when = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

export async function remove(study, name) {
  if (!confirm(`Delete “${name}” with its scan and all results? This cannot be undone.`)) return false;
  await ask(`/api/studies/${study}`, { method: "DELETE" });
  return true;
}
