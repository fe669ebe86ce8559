// Choosing, previewing and sending files, and following each until its verdict.
import { $, $$, follow, keepFile, say, showStages } from "./common.js";

const form = $("#upload"), drop = $("#drop"), input = $("#files"), list = $("#list"), start = $("#start"), problem = $("#problem");
const limit = Number(form.dataset.limit);
const AT_ONCE = 3;
let chosen = [];
let sending = false;

input.required = false;
function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let step = 0;
  while (bytes >= 1000 && step < 3) { bytes /= 1000; step += 1; }
  return `${step ? bytes.toFixed(1) : bytes} ${units[step]}`;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function preview(file) {
  const box = element("div", { className: "thumb" });
  const url = URL.createObjectURL(file);
  const unseen = () => { box.replaceChildren("no preview"); URL.revokeObjectURL(url); };
  if (file.type.startsWith("image/")) {
    box.append(element("img", { src: url, alt: "", onerror: unseen, onload: () => URL.revokeObjectURL(url) }));
  } else if (file.type.startsWith("video/")) {
    const video = element("video", { src: url, muted: true, preload: "metadata", playsInline: true, onerror: unseen });
    video.onloadedmetadata = () => { video.currentTime = Math.min(1, (video.duration || 0) / 3); };
    box.append(video);
  } else unseen();
  return box;
}

function add(files) {
  if (sending) return;
  for (const file of files) {
    const entry = { file, card: null, status: null };
    const remove = element("button", { type: "button", className: "icon", textContent: "✕" });
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => { chosen = chosen.filter((item) => item !== entry); entry.card.remove(); paint(); input.focus(); });
    entry.status = element("div", { className: "status soft small", textContent: size(file.size) });
    if (file.size > limit) {
      entry.status.textContent = `${size(file.size)}: too large, the limit is ${form.dataset.limitWords}. Cut or compress it.`;
      entry.refused = true;
    }
    entry.remove = remove;
    entry.card = element("li", { className: "file" }, preview(file), element("span", { className: "name", textContent: file.name }), remove, entry.status);
    chosen.push(entry);
    list.append(entry.card);
  }
  paint();
  say(`${chosen.length} ${chosen.length === 1 ? "file" : "files"} chosen. Press Enter to start.`);
  if (chosen.length) start.focus();
}

function paint() {
  list.hidden = chosen.length === 0;
  drop.classList.toggle("compact", chosen.length > 0);
  $("#choose").textContent = chosen.length ? "Add files" : "Choose files";
  $("#choose").classList.toggle("primary", chosen.length === 0);
  start.textContent = chosen.length > 1 ? `Check ${chosen.length} files` : "Check";
  problem.textContent = "";
}

input.addEventListener("change", () => { add(input.files); input.value = ""; });
$("#choose").addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") input.click(); });
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    if (event.dataTransfer?.types.includes("Files")) { event.preventDefault(); drop.classList.add("over"); }
  });
}
addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => { if (event.clipboardData?.files.length) { event.preventDefault(); add(event.clipboardData.files); } });
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && chosen.length && !event.target.closest("button, a, summary, label, select, input, dialog")) { event.preventDefault(); form.requestSubmit(); }
});

function fail(entry, title, detail) {
  entry.failed = true;
  entry.status.replaceChildren(element("span", { className: "badge error", textContent: "✕ Error" }), ` ${title}`, element("span", { className: "hint break", textContent: detail }));
}

function send(entry, batch) {
  const data = new FormData();
  for (const name of ["frames", "detector", "sampling", "start_s", "end_s"]) if (form.elements[name].value) data.append(name, form.elements[name].value);
  if (batch) data.append("batch", batch);
  data.append("file", entry.file, entry.file.name);
  const bar = element("progress", { max: 1, value: 0 });
  bar.setAttribute("aria-label", `Upload of ${entry.file.name}`);
  const words = element("span", { className: "num", textContent: "Uploading" });
  entry.remove.hidden = true;
  entry.status.replaceChildren(bar, words);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/analyses");
    request.upload.onprogress = (event) => { bar.value = event.loaded / event.total; words.textContent = `Uploading, ${Math.round(100 * bar.value)} %`; };
    request.onerror = () => { fail(entry, "The upload did not arrive.", "The connection broke, or the console is not running. Send the file again."); resolve(null); };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* not ours */ }
      if (request.status >= 400 || !answer.id) { fail(entry, answer.title ?? `Error ${request.status}`, answer.detail ?? "Send the file again."); resolve(null); return; }
      keepFile(answer.id, entry.file);
      watch(entry, answer).then(resolve);
    };
    request.send(data);
  });
}

function watch(entry, analysis) {
  const stages = element("ol", { className: "stages" }, ...[["decode", "Read"], ["faces", "Faces"], ["network", "Detector"], ["verdict", "Verdict"]].map(([key, name]) => {
    const item = element("li", { textContent: name });
    item.dataset.stage = key;
    return item;
  }));
  const words = element("span", { className: "num" });
  entry.status.replaceChildren(stages, words);
  const link = element("a", { href: analysis.links.page, className: "name", textContent: entry.file.name });
  $(".name", entry.card).replaceWith(link);
  const progress = (now) => { words.textContent = showStages(stages, now).words; };
  progress(analysis);
  return new Promise((resolve) => {
    follow(analysis.id, {
      progress,
      end: (now) => { ended(entry, now); resolve(now); },
      gone: () => { fail(entry, "It was deleted.", ""); resolve(null); },
    });
  });
}

const LABELS = { FAKE: ["fake", "▲ Fake"], REAL: ["real", "● Real"], UNCERTAIN: ["uncertain", "◆ Uncertain"], NOT_EVALUATED: ["not_evaluated", "○ Not evaluated"] };
function ended(entry, now) {
  if (now.state === "failed") { fail(entry, "It could not be checked.", now.error.message); return; }
  const [kind, words] = LABELS[now.label];
  const score = now.score === null ? "" : ` Score ${(Math.floor(now.score * 1000 + 1e-9) / 1000).toFixed(3)}. `;
  entry.status.replaceChildren(element("span", { className: `badge ${kind}`, textContent: words }), score || " ", element("a", { href: now.links.page, textContent: "Open the result" }));
  say(`${entry.file.name}: ${words.slice(2)}`);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (sending) return;
  if (!form.reportValidity()) return;
  const waiting = chosen.filter((entry) => !entry.refused);
  if (!waiting.length) { problem.textContent = "Choose a video or picture first."; input.focus(); return; }
  sending = true;
  $("#settings").hidden = true;
  drop.hidden = true;
  for (const entry of chosen) entry.remove.hidden = true;
  const batch = waiting.length > 1 ? [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("") : null;
  if (batch) $("#batch").href = `/batches/${batch}`;
  $("#batch").hidden = !batch;
  $("#after").hidden = false;
  say("Uploading");
  const queue = [...waiting];
  const results = [];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let entry = queue.shift(); entry; entry = queue.shift()) results.push(await send(entry, batch));
  }));
  sending = false;
  // One file: straight to what it is all about.
  if (waiting.length === 1 && chosen.length === 1 && results[0]) location.href = results[0].links.page;
});

addEventListener("beforeunload", (event) => { if (sending && $$("progress", list).length) event.preventDefault(); });
// The server is asked which detectors it has, so that the next visitor's list is complete.
fetch("/v1/models").then((answer) => (answer.ok ? answer.json() : null)).then((models) => {
  const select = form.elements.detector;
  if (!models || models.models.length === select.options.length) return;
  select.replaceChildren(...models.models.map((model) => new Option(model.detector + (model.info.trained ? "" : " (untrained)"), model.detector, false, model.detector === models.default)));
}).catch(() => {});
