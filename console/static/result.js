// A result: pictures or the video with faces marked, timelines that seek; or an analysis that is still running.
import { $, $$, clock, follow, keptFile, showStages, toast } from "./common.js";
import { arrange, leader, paintHeat } from "./overlay.js";

const place = $("#analysis");
const id = place.dataset.id;
const data = $("#data") && JSON.parse($("#data").textContent);

if (["queued", "running"].includes(place.dataset.state)) {
  const words = $("#stage-words"), bar = $("#bar");
  follow(id, {
    progress: (now) => {
      const seen = showStages($("#stages"), now);
      if (words.textContent !== seen.words) words.textContent = seen.words;
      if (seen.share === null) bar.removeAttribute("value"); else bar.value = seen.share;
    },
    end: () => location.reload(),
    gone: () => { location.href = "/history"; },
  });
}

$("#copy")?.addEventListener("click", async () => {
  const address = location.href.split("#")[0];
  try { await navigator.clipboard.writeText(address); toast("Link copied"); } catch { prompt("The link to this result:", address); }
});

// Heat maps are computed when they are first asked for, and arrive as numbers, all at once: the crops and the picture are painted from those.
const heat = $("#heat");
const overPicture = $("#heat-player");
let heatMaps = null;
let redraw = () => {};
overPicture?.addEventListener("change", () => redraw());
async function showHeat() {
  const words = $("#heat-words"), legend = $("#heat-legend");
  if (heat.getAttribute("aria-pressed") === "true") {
    heat.setAttribute("aria-pressed", "false");
    heat.textContent = "Show where the detector looked";
    for (const layer of $$(".crops .heat")) layer.remove();
    place.classList.remove("heats");
    legend.hidden = true;
    words.textContent = "";
    redraw();
    return;
  }
  if (heat.getAttribute("aria-disabled") === "true") return;
  if (!heatMaps) {
    heat.setAttribute("aria-disabled", "true");
    words.textContent = "Computing. This takes about as long as the check did.";
    try {
      const answer = await fetch(`/v1/analyses/${id}/heatmaps`);
      const found = await answer.json();
      if (answer.ok) heatMaps = found; else words.textContent = `${found.title}. ${found.detail}`;
    } catch { words.textContent = "The console does not answer. Try again in a moment."; }
    heat.removeAttribute("aria-disabled");
    if (!heatMaps) return;
  }
  words.textContent = heatMaps.tracks.some((track) => track.largest > 0) ? "" : "Nothing in these faces raised the score.";
  for (const track of heatMaps.tracks) {
    const lane = $(`[data-track="${track.track_id}"]`);
    for (const button of $$(".crops button", lane)) {
      const frame = track.frames.find((item) => item.frame_index === Number(button.dataset.frame));
      if (!frame) continue;
      const layer = paintHeat(frame.heatmap, track.largest, data.ramp);
      layer.setAttribute("role", "img");
      layer.setAttribute("aria-label", ` raised the score most: ${peak(frame.heatmap, track.largest)},`);
      $(".face", button).append(layer);
    }
  }
  place.classList.add("heats");
  heat.setAttribute("aria-pressed", "true");
  heat.textContent = "Hide where the detector looked";
  legend.hidden = false;
  redraw();
}
// The strongest spot of a map in words, for those who do not see it.
function peak(map, largest) {
  const most = Math.max(...map.flat());
  if (!(most > 0.05 * largest)) return "nowhere";
  const row = map.findIndex((line) => line.includes(most)), column = map[row].indexOf(most);
  const third = (at, names) => names[Math.min(2, Math.floor((3 * (at + 0.5)) / map.length))];
  return `${third(row, ["top", "middle", "bottom"])} ${third(column, ["left", "centre", "right"])}`;
}
heat?.addEventListener("click", showHeat);

if (data && $("#screen")) player(data);

function player(facts) {
  const screen = $("#screen"), image = $("#frame"), video = $("#video"), boxes = $("#boxes"), maps = $("#maps"), tags = $("#tags");
  const seek = $("#seek"), shown = $("#clock"), play = $("#play");
  const frames = facts.frames.length ? facts.frames : [{ i: 0, t: 0 }];
  const heads = $$(".plot").map((plot) => ({ plot, head: $(".head", plot), start: Number(plot.dataset.start), end: Number(plot.dataset.end) }));
  const crops = $$("[data-frame]");
  let now = Math.max(0, frames.findIndex((frame) => image.src.endsWith(`/frames/${frame.i}.jpg`)));
  let timer = null;
  let original = false;
  if (seek) seek.max = frames.length - 1;

  // Where the picture itself is inside its element: it may be narrower or lower than that.
  function fit() {
    const shownElement = original ? video : image;
    const area = shownElement.getBoundingClientRect(), outer = screen.getBoundingClientRect();
    const scale = Math.min(area.width / facts.width, area.height / facts.height);
    const width = facts.width * scale, height = facts.height * scale;
    const left = area.left - outer.left + (area.width - width) / 2, top = area.top - outer.top + (area.height - height) / 2;
    return { left, top, scale };
  }

  const several = facts.tracks.length > 1, places = new Map(), painted = new Map();
  function shape(kind, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function draw(faces) {
    const { left, top, scale } = fit();
    if (!(scale > 0)) return;  // no room yet: drawn once there is
    const drawn = faces.map(({ b: [x0, y0, x1, y1], z }) => shape("rect", { x: x0, y: y0, width: Math.max(0, x1 - x0), height: Math.max(0, y1 - y0), rx: 4 / scale, class: z }));
    tags.replaceChildren(...faces.map((face) => Object.assign(document.createElement("span"), { className: `tag ${face.z}` })));
    const rooms = [...tags.children], room = { left, top, right: left + facts.width * scale, bottom: top + facts.height * scale };
    const measured = (long) => faces.map((face, index) => {
      const [x0, y0, x1, y1] = face.b;
      rooms[index].textContent = several ? `${long ? `Person ${face.who}` : face.who} · ${face.s}` : face.s;
      return { who: face.who, face: { left: left + x0 * scale, top: top + y0 * scale, right: left + x1 * scale, bottom: top + y1 * scale } };
    }).map((tag, index) => ({ ...tag, width: rooms[index].offsetWidth, height: rooms[index].offsetHeight }));
    const wanted = measured(facts.tracks.length < 4 && room.right - room.left > 480);
    for (const [index, place] of arrange(wanted, room, places).entries()) {
      rooms[index].hidden = !place;
      if (!place) continue;
      rooms[index].style.left = `${place.left}px`;
      rooms[index].style.top = `${place.top}px`;
      const line = leader(place, wanted[index].face);
      if (line) drawn.push(shape("line", { x1: (line.x1 - left) / scale, y1: (line.y1 - top) / scale, x2: (line.x2 - left) / scale, y2: (line.y2 - top) / scale, class: faces[index].z }));
    }
    boxes.replaceChildren(...drawn);
    drawHeat(faces, room, scale);
  }

  // The map of the sampled frame that is nearest, over the square that the detector was given of this face.
  function drawHeat(faces, room, scale) {
    const on = heat?.getAttribute("aria-pressed") === "true" && overPicture.checked;
    maps.hidden = !on;
    if (!on) return;
    for (const [edge, value] of Object.entries({ left: room.left, top: room.top, width: room.right - room.left, height: room.bottom - room.top })) maps.style[edge] = `${value}px`;
    maps.replaceChildren(...faces.flatMap((face) => {
      const layer = heatOf(face.who - 1, face.i);
      if (!layer) return [];
      const [x0, y0, x1, y1] = face.b, side = Math.max(x1 - x0, y1 - y0) * facts.margin * scale;
      for (const [edge, value] of Object.entries({ left: (x0 + x1) / 2 * scale - side / 2, top: (y0 + y1) / 2 * scale - side / 2, width: side, height: side })) layer.style[edge] = `${value}px`;
      return [layer];
    }));
  }
  function heatOf(person, index) {
    const name = `${person}/${index}`;
    if (!painted.has(name)) {
      const track = heatMaps.tracks.find((item) => item.track_id === person), frame = track?.frames.find((item) => item.frame_index === index);
      painted.set(name, frame ? paintHeat(frame.heatmap, track.largest, facts.ramp) : null);
    }
    return painted.get(name);
  }

  function point(time) {
    for (const { plot, head, start, end } of heads) {
      head.hidden = false;
      head.style.left = `${(100 * (time - start)) / (end - start)}%`;
      plot.title = clock(time);
    }
    if (shown) shown.textContent = clock(time);
  }

  function mark(index) {
    for (const crop of crops) crop.classList.toggle("at", Number(crop.dataset.frame) === index);
    if (seek) { seek.value = now; seek.setAttribute("aria-valuetext", clock(frames[now].t)); }
  }

  function facesIn(index) {
    return facts.tracks.flatMap((track) => track.frames.filter((frame) => frame.i === index).map((frame) => ({ ...frame, who: track.id + 1 })));
  }

  // Between two sampled frames that are close, the box moves in a straight line; elsewhere there is none.
  const step = frames.length > 1 ? (frames[frames.length - 1].t - frames[0].t) / (frames.length - 1) : 1;
  function facesAt(time) {
    return facts.tracks.flatMap((track) => {
      const next = track.frames.findIndex((frame) => frame.t >= time);
      const after = next < 0 ? track.frames[track.frames.length - 1] : track.frames[next];
      const before = next > 0 ? track.frames[next - 1] : after;
      if (!after || Math.min(Math.abs(after.t - time), Math.abs(time - before.t)) > 2 * step) return [];
      const share = after.t > before.t ? Math.min(1, Math.max(0, (time - before.t) / (after.t - before.t))) : 0;
      return [{ ...(share > 0.5 ? after : before), b: before.b.map((value, edge) => value + share * (after.b[edge] - value)), who: track.id + 1 }];
    });
  }

  function show(position) {
    now = Math.min(frames.length - 1, Math.max(0, position));
    const frame = frames[now];
    const address = `/v1/analyses/${id}/frames/${frame.i}.jpg`;
    if (original) {
      video.currentTime = frame.t + 1e-3;
    } else if (!image.src.endsWith(address)) {
      image.src = address;
      image.alt = `Frame at ${clock(frame.t)}`;
    }
    draw(facesIn(frame.i));
    point(frame.t);
    mark(frame.i);
    const ahead = frames[now + 1];
    if (ahead && !original) new Image().src = `/v1/analyses/${id}/frames/${ahead.i}.jpg`;
  }

  function nearest(time) {
    return frames.reduce((best, frame, position) => (Math.abs(frame.t - time) < Math.abs(frames[best].t - time) ? position : best), 0);
  }

  function go(time) { stop(); now = nearest(time); show(now); }

  function stop() {
    clearInterval(timer);
    timer = null;
    if (original) video.pause();
    paintPlay(false);
  }

  function paintPlay(playing) {
    if (!play) return;
    play.setAttribute("aria-pressed", String(playing));
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    $("path", play).setAttribute("d", playing ? "M8 5v14M16 5v14" : "M8 5v14l11-7Z");
  }

  function toggle() {
    if (original) { if (video.paused) video.play().then(() => paintPlay(true)).catch(() => {}); else stop(); return; }
    if (timer) { stop(); return; }
    if (now === frames.length - 1) show(0);
    paintPlay(true);
    timer = setInterval(() => { if (now >= frames.length - 1) stop(); else show(now + 1); }, 220);
  }

  play?.addEventListener("click", toggle);
  seek?.addEventListener("input", () => { stop(); show(Number(seek.value)); });
  for (const crop of crops) crop.addEventListener("click", () => { stop(); show(frames.findIndex((frame) => frame.i === Number(crop.dataset.frame))); screen.scrollIntoView({ block: "nearest" }); });
  for (const { plot, start, end } of heads) {
    const move = (event) => {
      const area = plot.getBoundingClientRect();
      go(start + (end - start) * Math.min(1, Math.max(0, (event.clientX - area.left) / area.width)));
    };
    plot.addEventListener("pointerdown", (event) => { if (event.button === 0) { plot.setPointerCapture(event.pointerId); move(event); } });
    plot.addEventListener("pointermove", (event) => { if (event.buttons & 1) move(event); });
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, button, a, select, summary, dialog, [tabindex='0']")) return;
    const moves = { ArrowRight: () => { stop(); show(now + 1); }, ArrowLeft: () => { stop(); show(now - 1); }, " ": toggle };
    if (seek && moves[event.key]) { event.preventDefault(); moves[event.key](); }
  });

  function follower() {
    if (!original) return;
    const time = video.currentTime;
    draw(facesAt(time));
    point(time);
    const at = nearest(time);
    if (at !== now) { now = at; mark(frames[now].i); }
    if (!video.paused) (video.requestVideoFrameCallback ?? requestAnimationFrame).call(video.requestVideoFrameCallback ? video : window, follower);
  }
  for (const kind of ["play", "seeked", "timeupdate"]) video.addEventListener(kind, follower);
  video.addEventListener("ended", () => paintPlay(false));
  video.addEventListener("pause", () => paintPlay(false));

  function useOriginal(file) {
    const address = URL.createObjectURL(file);
    video.onloadeddata = () => {
      original = true;
      image.hidden = true;
      video.hidden = false;
      const which = $("#which");
      if (which) { which.textContent = "Shown is the original from this computer; it was not sent again."; $("#original").hidden = true; }
      show(now);
    };
    video.onerror = () => { if (!original) { URL.revokeObjectURL(address); $("#which").textContent = "This browser cannot play the original, so the frames that were looked at are shown."; } };
    video.src = address;
  }
  const chooser = $("#original-file");
  $("#original")?.addEventListener("click", () => chooser.click());
  chooser?.addEventListener("change", async () => {
    const file = chooser.files[0];
    if (!file) return;
    if (!(await same(file))) { toast("That is another file: its checksum differs"); return; }
    useOriginal(file);
  });

  show(now);
  redraw = () => draw(original ? facesAt(video.currentTime) : facesIn(frames[now].i));
  image.addEventListener("load", redraw);
  new ResizeObserver(redraw).observe(screen);
  if (facts.kind === "video") keptFile(id).then((file) => { if (file) useOriginal(file); });
}

// Large files are compared by size alone: a checksum needs all of one in memory.
async function same(file) {
  if (file.size !== Number(place.dataset.size)) return false;
  if (file.size > 300e6 || !crypto.subtle) return true;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("") === place.dataset.sha256;
}
