// Theme, shortcuts, confirmations and times: on every page.
const root = document.documentElement;
const live = document.getElementById("live");

export const $ = (selector, from = document) => from.querySelector(selector);
export const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

export function say(words) {
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = words; });
}

export function toast(words) {
  $(".toast")?.remove();
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = words;
  document.body.append(box);
  say(words);
  setTimeout(() => box.remove(), 3500);
}

export function clock(seconds) {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = `${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
  return minutes >= 60 ? `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function stored(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* storage is off */ }
  return null;
}

const WORDS = {
  waiting: "The detector’s server does not answer. This goes on when it is back.",
  decode: "Opening the file.", network: "Asking the detector.", verdict: "Writing the result.",
};
const ORDER = ["decode", "faces", "network", "verdict"];

// Shows an analysis's progress in a list of stages; returns words and a share of the whole.
export function showStages(list, analysis) {
  const { stage, frames_done: done, frames_planned: planned } = analysis.progress;
  const ended = analysis.state === "done";
  const at = ended ? ORDER.length : Math.max(0, ORDER.indexOf(stage));
  for (const item of $$("li[data-stage]", list)) {
    const place = ORDER.indexOf(item.dataset.stage);
    // Reading goes on while faces are looked for: both are what happens now.
    const running = analysis.state === "running" && (place === at || (stage === "faces" && item.dataset.stage === "decode"));
    item.className = running ? "now" : place < at ? "past" : "";
    if (running) item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
  }
  if (ended) return { words: "Done.", share: 1 };
  if (analysis.state === "queued" && stage !== "waiting") return { words: "Waiting for its turn.", share: null };
  if (stage === "faces" && planned) return { words: `Reading and looking for faces: frame ${done} of ${planned}.`, share: 0.1 + 0.6 * (done / planned) };
  return { words: WORDS[stage] ?? "Working.", share: { decode: 0.05, network: 0.75, verdict: 0.95 }[stage] ?? null };
}

// Follows an analysis; asks again by itself when the connection breaks, also when the console was restarted.
export function follow(id, { progress, end, gone }) {
  const source = new EventSource(`/v1/analyses/${id}/events`);
  source.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
  source.addEventListener("end", (event) => { source.close(); end(JSON.parse(event.data)); });
  source.addEventListener("gone", () => { source.close(); gone?.(); });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(id, { progress, end, gone }), 2000);
  });
  return source;
}

// The chosen file stays in this browser, for a day and ten files at most, so that it can be played beside its result.
const DAY_MS = 86400e3;
function files() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("unmask", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("files", { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
export async function keepFile(id, file) {
  try {
    const store = (await files()).transaction("files", "readwrite").objectStore("files");
    const all = (await done(store.getAllKeys()));
    for (const old of all.slice(0, Math.max(0, all.length - 9))) store.delete(old);
    await done(store.put({ id, file, at: Date.now() }));
  } catch { /* private window or no room: the frames are shown instead */ }
}
export async function keptFile(id) {
  try {
    return (await done((await files()).transaction("files").objectStore("files").get(id)))?.file ?? null;
  } catch { return null; }
}
export async function dropFiles(ids) {
  try {
    const store = (await files()).transaction("files", "readwrite").objectStore("files");
    for (const entry of await done(store.getAll())) {
      if (ids.includes(entry.id) || Date.now() - entry.at > DAY_MS) store.delete(entry.id);
    }
  } catch { /* nothing kept */ }
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
const themeButton = document.getElementById("theme");
function paintTheme() { themeButton.setAttribute("aria-pressed", String(isDark())); }
function turnTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  stored("unmask-theme", root.dataset.theme);
  paintTheme();
  say(isDark() ? "Dark mode" : "Light mode");
}
themeButton.addEventListener("click", turnTheme);
paintTheme();

const overlay = document.getElementById("shortcuts");
const single = document.getElementById("single-keys");
single.checked = stored("unmask-single-keys") !== "off";
single.addEventListener("change", () => stored("unmask-single-keys", single.checked ? "on" : "off"));
document.getElementById("help").addEventListener("click", () => overlay.showModal());

const actions = {
  u: () => { const input = document.getElementById("files"); if (input) input.click(); else location.href = "/#choose"; },
  r: () => { location.href = "/history"; },
  s: save,
  t: turnTheme,
};
function save() {
  const link = document.getElementById("save"), analysis = document.getElementById("analysis");
  if (link) link.click();
  else if (["queued", "running"].includes(analysis?.dataset.state)) {
    remember("unmask-save", analysis.dataset.id);
    toast("The report is saved as soon as it is there");
  } else toast("There is no report on this page");
}
function remember(name, value) {
  try {
    const before = sessionStorage.getItem(name);
    if (value === null) sessionStorage.removeItem(name); else if (value !== undefined) sessionStorage.setItem(name, value);
    return before;
  } catch { return null; /* storage is off */ }
}
function press(event) {
  const typing = event.target.closest?.("input:not([type=checkbox], [type=range], [type=file]), select, textarea, [contenteditable]");
  const wanted = actions[event.key.toLowerCase()];
  if (wanted && (event.ctrlKey !== event.altKey) && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    wanted();
  } else if (event.key === "?" && single.checked && !typing && !overlay.open) {
    event.preventDefault();
    overlay.showModal();
  }
}
addEventListener("keydown", press);
window.earlyKeys(press);
// Asked for while the analysis was still running.
if (document.getElementById("save") && remember("unmask-save") === document.getElementById("analysis")?.dataset.id) {
  remember("unmask-save", null);
  save();
}

for (const form of $$("form[action='/analyses/delete']")) {
  form.addEventListener("submit", (event) => {
    const deleting = !event.submitter?.hasAttribute("formaction");
    const ids = $$("[name=id]", form).filter((item) => item.type === "hidden" || item.checked).map((item) => item.value);
    if (!ids.length) { event.preventDefault(); toast("Tick some results first"); return; }
    if (!deleting) return;
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !confirm(question)) { event.preventDefault(); return; }
    dropFiles(ids);
  });
}
dropFiles([]);

const today = new Date().toDateString();
for (const item of $$("time[datetime]")) {
  const moment = new Date(item.dateTime);
  if (Number.isNaN(moment.getTime())) continue;
  const day = moment.toDateString() === today ? "today" : moment.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: moment.getFullYear() === new Date().getFullYear() ? undefined : "numeric" });
  item.textContent = `${day}, ${moment.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`;
}

document.getElementById("print")?.addEventListener("click", () => print());
if (location.hash === "#choose") document.getElementById("choose")?.focus();
const batch = document.getElementById("batch-page");
if (batch && Number(batch.dataset.busy)) setTimeout(() => location.reload(), 2500);
