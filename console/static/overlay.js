// What lies over the picture: a tag for each person, none over another, and where the detector looked.
const ROWS = 8;
const COVERING_PX = 60;  // a tag over somebody else's face is as bad as one so far away
const STAYING_PX = 14;   // a tag stays on its side of the face unless another is better by this

function overlap(a, b) {
  return Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
}
function gap(a, b) {
  return Math.hypot(Math.max(0, a.left - b.right, b.left - a.right), Math.max(0, a.top - b.bottom, b.top - a.bottom));
}
const within = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

// Where a tag of this size may stand beside a face: rows above and below it, and at its sides.
function places(face, width, height, room) {
  const middle = (face.left + face.right - width) / 2, found = [];
  for (let row = 0; row < ROWS; row += 1) {
    for (const [column, left] of [face.left, face.right - width, middle, face.right, face.left - width].entries()) {
      found.push([`a${row}${column}`, left, face.top - height * (row + 1) - 2 * row], [`b${row}${column}`, left, face.bottom + height * row + 2 * row]);
    }
  }
  return found.map(([name, left, top]) => {
    const x = within(left, room.left, room.right - width), y = within(top, room.top, room.bottom - height);
    return { name, left: x, top: y, right: x + width, bottom: y + height };
  });
}

// One place a tag ({who, face, width, height}; faces and room are rectangles), the nearest that is free. ``memory`` (a Map) keeps tags from
// jumping from frame to frame. Null where there is no room at all.
export function arrange(tags, room, memory) {
  const taken = [];
  return tags.map((tag) => {
    let best = null;
    for (const place of places(tag.face, tag.width, tag.height, room)) {
      if (taken.some((other) => overlap(place, other) > 0)) continue;
      const covered = tags.reduce((sum, { face }) => sum + overlap(place, face) / Math.max(1, (face.right - face.left) * (face.bottom - face.top)), 0);
      place.cost = gap(place, tag.face) + COVERING_PX * Math.min(2, covered) + (place.name[0] === "b" ? 4 : 0) + Number(place.name[2]) - (memory.get(tag.who) === place.name ? STAYING_PX : 0);
      if (!best || place.cost < best.cost) best = place;
    }
    if (best) { taken.push(best); memory.set(tag.who, best.name); }
    return best;
  });
}

// The ends of a line from a tag that stands apart to its face; null where it stands beside it.
export function leader(place, face) {
  if (gap(place, face) < 3) return null;
  const x = within((face.left + face.right) / 2, place.left + 4, place.right - 4);
  const above = place.bottom <= face.top;
  return { x1: x, y1: above ? place.bottom : Math.min(place.top, Math.max(place.bottom, face.top)), x2: within(x, face.left, face.right), y2: above ? face.top : face.bottom };
}

// A heat map's values (S by S), drawn small: the browser enlarges smoothly. As ``console.heat_picture`` does it, without asking the server.
const SIDE = 56;
export function paintHeat(values, largest, ramp) {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE, className: "heat" });
  const context = canvas.getContext("2d"), picture = context.createImageData(SIDE, SIDE), count = values.length;
  const at = Array.from({ length: SIDE }, (_, pixel) => {
    const place = within((pixel + 0.5) * count / SIDE - 0.5, 0, count - 1), low = Math.min(Math.floor(place), Math.max(count - 2, 0));
    return { low, high: Math.min(low + 1, count - 1), share: place - low };
  });
  const between = (a, b, share) => a + (b - a) * share;
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      const row = at[y], column = at[x];
      const value = between(between(values[row.low][column.low], values[row.low][column.high], column.share), between(values[row.high][column.low], values[row.high][column.high], column.share), row.share);
      const step = (largest > 0 ? within(value / largest, 0, 1) : 0) * (ramp.length - 1), low = Math.min(Math.floor(step), ramp.length - 2);
      for (let channel = 0; channel < 4; channel += 1) picture.data[4 * (y * SIDE + x) + channel] = Math.round(between(ramp[low][channel], ramp[low + 1][channel], step - low));
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
