// The parts of a page: asking for data, numbers as text, canvases.

const FASTEST_MS = 33, LOST_MS = 1000;

// The length of the JSON text, the text, then arrays at multiples of 8.
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true), first = 4 + length;
  const values = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const kinds = {u1: Uint8Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array};
  const arrays = {};
  for (const [name, [kind, place, size]] of Object.entries(values.arrays))
    arrays[name] = new kinds[kind](buffer, first + place, size);
  return [values, arrays];
}

const pause = ms => new Promise(done => setTimeout(done, ms));

// Asks for what is new, again and again. `take` returns the time until the next question, ms; 0: as fast as useful.
export async function follow(take, lost) {
  let after = "", missed = 0;
  for (;;) {
    const begun = performance.now();
    let wait = 0;
    try {
      const reply = await fetch("data?after=" + encodeURIComponent(after), {signal: AbortSignal.timeout(10000)});
      if (!reply.ok) throw new Error(reply.status);
      const [values, arrays] = unpack(await reply.arrayBuffer());
      after = values.next;
      missed = 0;
      wait = take(values, arrays);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof DOMException || /^\d+$/.test(error.message))) console.error(error);
      if (!lost(++missed)) return;
      wait = LOST_MS;
    }
    await pause(Math.max(4, Math.max(wait, FASTEST_MS) - (performance.now() - begun)));
  }
}

export const element = name => document.getElementById(name);

export function write(name, text, small = "") {
  const place = element(name);
  if (place.dataset.shown === text + small) return;
  place.dataset.shown = text + small;
  place.textContent = text;
  if (small) {
    const rest = document.createElement("small");
    rest.textContent = " " + small;
    place.append(rest);
  }
}

export const whole = number => Math.round(number).toLocaleString("en-US");

export function short(number) {
  if (!isFinite(number)) return "\u2013";
  const size = Math.abs(number);
  if (size >= 1e6) return (number / 1e6).toPrecision(3) + " M";
  if (size >= 1e4) return (number / 1e3).toPrecision(3) + " k";
  return size >= 100 || Number.isInteger(number) ? whole(number) : String(+number.toPrecision(3));
}

export function clock(s) {
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  const rest = (s % 60).toFixed(h || m ? 0 : 1);
  return h ? `${h} h ${m} min` : m ? `${m} min ${rest} s` : `${rest} s`;
}

export function percentile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : NaN;
}

let palette = null;
const listeners = [];
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  for (const listener of listeners) listener();
});
addEventListener("resize", () => listeners.forEach(listener => listener()));
export const onChange = listener => listeners.push(listener);

// The colours of the style, as [r, g, b] and as text.
export function colors() {
  if (palette) return palette;
  const style = getComputedStyle(document.documentElement);
  palette = {};
  for (const name of ["screen", "ink", "faint", "line", "on", "off", "accent", "second", "third"]) {
    const text = style.getPropertyValue("--" + name).trim();
    const digits = text.length === 4 ? [...text.slice(1)].map(d => d + d) : text.slice(1).match(/../g);
    palette[name] = text;
    palette[name + "_rgb"] = digits.map(d => parseInt(d, 16));
  }
  return palette;
}

// A canvas as large as its place, and its context in CSS pixels.
export function ready(canvas, height) {
  const ratio = Math.min(devicePixelRatio || 1, 2), width = Math.max(1, canvas.clientWidth);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.style.height = height + "px";
    [canvas.width, canvas.height] = [w, h];
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  return [context, width];
}

// A text that is cut to a width.
export function label(context, text, x, y, width) {
  let shown = text;
  while (shown && context.measureText(shown + (shown === text ? "" : "\u2026")).width > width) shown = shown.slice(0, -1);
  context.fillText(shown === text ? text : shown + "\u2026", x, y);
}
