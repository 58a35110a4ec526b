// The page of a stream: sensor, answers, spikes and the time of a step, over a window of time that ends now.

// Asking for data, numbers as text, canvases.

const FASTEST_MS = 33, LOST_MS = 1000;

// The length of the JSON text, the text, then arrays at multiples of 8.
function unpack(buffer) {
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
async function follow(take, lost) {
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

const element = name => document.getElementById(name);

function write(name, text, small = "") {
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

const whole = number => Math.round(number).toLocaleString("en-US");

function short(number) {
  if (!isFinite(number)) return "\u2013";
  const size = Math.abs(number);
  if (size >= 1e6) return (number / 1e6).toPrecision(3) + " M";
  if (size >= 1e4) return (number / 1e3).toPrecision(3) + " k";
  return size >= 100 || Number.isInteger(number) ? whole(number) : String(+number.toPrecision(3));
}

function clock(s) {
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  const rest = (s % 60).toFixed(h || m ? 0 : 1);
  return h ? `${h} h ${m} min` : m ? `${m} min ${rest} s` : `${rest} s`;
}

function percentile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : NaN;
}

let palette = null;
const listeners = [];
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  palette = null;
  for (const listener of listeners) listener();
});
addEventListener("resize", () => listeners.forEach(listener => listener()));
const onChange = listener => listeners.push(listener);

// The colours of the style, as [r, g, b] and as text.
function colors() {
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
function ready(canvas, height) {
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
function label(context, text, x, y, width) {
  let shown = text;
  while (shown && context.measureText(shown + (shown === text ? "" : "\u2026")).width > width) shown = shown.slice(0, -1);
  context.fillText(shown === text ? text : shown + "\u2026", x, y);
}

// What the page shows.

const FADE_MS = 30, ROW = 15, AXIS = 18, MOST_ROWS = 16, NAMED = 0.02;
const ENDS = ["live", "ended: the source was closed", "ended: the answer was found", "stopped", "ended by an error or a kill"];
// Failed questions, one a second, after which the stream is taken as gone.
const KILLED = 4, GONE_AFTER = 5;
let layout = null, now = 0, paused = false, numbers = null, ended = 0;
let layers = [], answers = [], times = [], rates = [], seen = null, polarity = null, picture = null;

function begin(found) {
  layout = found;
  const [height, width] = layout.picture;
  seen = new Float64Array(height * width).fill(-1e9);
  polarity = new Uint8Array(height * width);
  picture = new ImageData(width, height);
  [answers, times, rates] = [[], [], []];
  layers = layout.layers.map(([name, shape]) => new Raster(name, shape, shape[0], layout.columns));
  const flat = height === 1;
  element("sensor_card").hidden = flat;
  element("layers_card").hidden = !layers.length && !flat;
  if (flat) layers.unshift(new Raster("events", [width, 1, 1], width, layout.columns));
  const [rows, columns, polarities] = layout.sensor;
  write("run", `snnlab stream ${layout.run}`);
  document.title = `${layout.run} \u2013 snnlab stream`;
  write("source", layout.source === "-" ? "standard input" : layout.source.replace(/^.*\/(?=[^/]+$)/, ""));
  element("source").title = layout.source;
  write("sensor_size", `${columns} \u00d7 ${rows}`);
  element("off").hidden = polarities === 1;
  write("fades", `\u00b7 the last ${3 * FADE_MS} ms`);
  write("answers_note", layout.has_values ? "" : "probability of each class");
}

// Numbers of spikes in a ring of columns of time, and their picture.
class Raster {
  constructor(name, shape, rows, columns) {
    Object.assign(this, {name, shape, rows, columns, most: 1, per_row: (shape[0] / rows) * shape[1] * shape[2]});
    this.counts = new Uint8Array(rows * columns);
    this.canvas = document.createElement("canvas");
    [this.canvas.width, this.canvas.height] = [columns, rows];
    this.context = this.canvas.getContext("2d");
    this.image = new ImageData(columns, rows);
    this.dirty = true;
  }

  get height() { return layers.length > 5 ? Math.max(20, Math.min(44, this.rows)) : Math.max(26, Math.min(72, this.rows * 2)); }

  add(first, counts) {
    const {rows, columns} = this, number = counts.length / rows;
    for (let n = 0; n < number; n++) {
      const x = (first + n) % columns;
      for (let r = 0; r < rows; r++) {
        const count = counts[n * rows + r];
        this.counts[r * columns + x] = count;
        if (count > this.most) [this.most, this.dirty] = [count, true];
      }
      if (!this.dirty) this.paint(x);
    }
    if (!this.dirty && number) this.context.putImageData(this.image, 0, 0);
  }

  paint(x) {
    const [r, g, b] = this.color, data = this.image.data, scale = 1 / this.most;
    for (let y = 0; y < this.rows; y++) {
      const count = this.counts[y * this.columns + x], at = 4 * (y * this.columns + x);
      [data[at], data[at + 1], data[at + 2]] = [r, g, b];
      data[at + 3] = count ? 255 * Math.min(1, 0.15 + 0.85 * Math.sqrt(count * scale)) : 0;
    }
  }

  draw(context, end, left, top, width) {
    if (this.dirty) {
      for (let x = 0; x < this.columns; x++) this.paint(x);
      this.context.putImageData(this.image, 0, 0);
      this.dirty = false;
    }
    // The ring in two parts, so that time goes on from left to right.
    const step = width / (layout.window_ms / (layout.dt * layout.steps_per_column));
    const right = left + width - (now / (layout.dt * layout.steps_per_column) - end) * step;
    const x = end % this.columns;
    context.save();
    context.beginPath();
    context.rect(left, top, width, this.height);
    context.clip();
    context.imageSmoothingEnabled = step < 1 || this.height < this.rows;
    if (x) context.drawImage(this.canvas, 0, 0, x, this.rows, right - x * step, top, x * step, this.height);
    const rest = this.columns - x;
    context.drawImage(this.canvas, x, 0, rest, this.rows, right - this.columns * step, top, rest * step, this.height);
    context.restore();
  }
}

let column = 0;

function take(values, arrays) {
  if (values.layout) begin(values.layout);
  const flat = layout.picture[0] === 1;
  now = values.now_ms;
  numbers = values.numbers;
  ended = values.ended;
  const first = values.first_column;
  layout.layers.forEach(([, [rows]], k) => {
    const layer = layers[k + flat], counts = arrays["raster" + k];
    layer.add(first, counts);
    column = first + counts.length / rows;
  });
  if (flat) addFlat(arrays);
  for (let n = 0; n < arrays.pixels.length; n++) {
    seen[arrays.pixels[n]] = now + arrays.pixels_ms[n];
    polarity[arrays.pixels[n]] = arrays.polarities[n];
  }
  const outputs = layout.outputs.length;
  for (let n = 0; n < arrays.answers_ms.length; n++)
    answers.push([now + arrays.answers_ms[n], arrays.answers.slice(n * outputs, (n + 1) * outputs)]);
  for (let n = 0; n < arrays.times_ms.length; n++) times.push([now + arrays.times_ms[n], arrays.times_us[n]]);
  const begin_ms = now - layout.window_ms;
  while (answers.length > 2 && answers[1][0] < begin_ms) answers.shift();
  if (times.length && times[0][0] < begin_ms) times = times.filter(([t]) => t >= begin_ms);
  rates.push([now, numbers.events, numbers.spikes]);
  while (rates.length > 2 && rates[1][0] < now - 1000) rates.shift();
  if (!paused) draw();
  [document.body.dataset.ms, document.body.dataset.ended] = [now, ended];  // for programs that look at the page
  const state = element("state");
  write("state", ENDS[ended]);
  state.classList.toggle("ended", ended > 0);
  state.classList.remove("lost");
  return ended ? 1000 : document.hidden ? 500 : 0;
}

// Events of a sensor of one row, over time.
function addFlat(arrays) {
  const raster = layers[0], per = layout.dt * layout.steps_per_column;
  const end = Math.floor(now / per), fresh = Math.min(raster.columns, Math.max(0, end - (raster.end ?? end)));
  for (let n = 0; n < fresh; n++)
    for (let y = 0; y < raster.rows; y++) raster.counts[y * raster.columns + (end - n) % raster.columns] = 0;
  raster.end = end;
  for (let n = 0; n < arrays.pixels.length; n++) {
    const at = Math.floor((now + arrays.pixels_ms[n]) / per);
    if (at > end - raster.columns && at >= 0) raster.counts[arrays.pixels[n] * raster.columns + at % raster.columns] = 1;
  }
  raster.dirty = true;
}

function lost(times) {
  const state = element("state");
  if (ended) return false;
  write("state", layout ? "connection lost" : "no connection");
  state.classList.add("lost");
  if (!layout || times < GONE_AFTER) return true;
  document.body.dataset.ended = ended = KILLED;  // a process that was killed cannot say so
  write("state", ENDS[ended]);
  return false;
}

function draw() {
  if (!layout) return;
  const [sensor_height, sensor_width] = layout.picture;
  if (sensor_height > 1) drawSensor(sensor_width, sensor_height);
  drawNumbers();
  const gutter = element("answers").clientWidth < 480 ? 84 : 150;
  (layout.has_values ? drawValues : drawAnswers)(gutter);
  drawLayers(gutter);
  drawTimes(gutter);
}

function drawSensor(width, height) {
  const canvas = element("sensor"), {screen_rgb, on_rgb, off_rgb} = colors(), data = picture.data;
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
    canvas.style.aspectRatio = `${width} / ${height}`;
  }
  const single = layout.sensor[2] === 1;
  for (let n = 0; n < seen.length; n++) {
    const share = Math.exp((seen[n] - now) / FADE_MS), color = polarity[n] || single ? on_rgb : off_rgb;
    const alpha = share > 0.04 ? Math.min(1, share) : 0;
    for (let c = 0; c < 3; c++) data[4 * n + c] = screen_rgb[c] + alpha * (color[c] - screen_rgb[c]);
    data[4 * n + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function drawNumbers() {
  const [t, events, spikes] = rates[0], s = (now - t) / 1000;
  const rate = (count, before) => s > 0 ? short((count - before) / s) + "/s" : "";
  write("time", clock(now / 1000), layout.speed ? `\u00d7 ${layout.speed}` : "");
  write("events", short(numbers.events), ended ? "" : rate(numbers.events, events));
  write("spikes", short(numbers.spikes), ended ? "" : rate(numbers.spikes, spikes));
  const sorted = Float64Array.from(times, ([, us]) => us).sort();
  write("median", short(percentile(sorted, 0.5)), "\u00b5s");
  write("tail", short(percentile(sorted, 0.99)), "\u00b5s");
  const others = numbers.ahead + numbers.outside + numbers.unreadable;
  const kinds = [["outside", numbers.outside], ["an hour ahead", numbers.ahead], ["unreadable", numbers.unreadable]];
  write("late", whole(numbers.late));
  write("dropped", whole(others), kinds.filter(([, n]) => n).map(([name, n]) => `${whole(n)} ${name}`).join(", "));
  element("late").classList.toggle("warn", numbers.late > 0);
  element("dropped").classList.toggle("warn", others > 0);
  const last = answers.at(-1)?.[1];
  if (!last) return write("answer", "\u2013");
  if (layout.has_values) return write("answer", Array.from(last, short).join("  "));
  const best = last.indexOf(Math.max(...last));
  write("answer", layout.outputs[best], `${(100 * last[best]).toFixed(0)} %`);
}

const place = (t, left, width) => left + width * (1 - (now - t) / layout.window_ms);

function axis(context, left, top, width) {
  const window_s = layout.window_ms / 1000;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find(s => (s / window_s) * width > 60) ?? window_s;
  context.fillStyle = colors().faint;
  for (let s = 0; s <= window_s + 1e-9; s += step) {
    const x = left + width * (1 - s / window_s);
    context.textAlign = s ? (x - left < 20 ? "left" : "center") : "right";
    context.fillText(s ? `\u2212${+s.toFixed(2)} s` : "now", x, top + 11);
  }
}

function ground(context, left, top, width, height) {
  context.fillStyle = colors().screen;
  context.fillRect(left, top, width, height);
}

// The classes that had the largest probabilities, in their order.
function shownClasses() {
  const all = layout.outputs.map((_, k) => k);
  if (all.length <= MOST_ROWS) return all;
  const most = all.map(k => answers.reduce((found, [, y]) => Math.max(found, y[k]), 0));
  return all.sort((a, b) => most[b] - most[a]).slice(0, MOST_ROWS).sort((a, b) => a - b);
}

function drawAnswers(gutter) {
  const classes = shownClasses(), height = classes.length * ROW, right = 36;
  const [context, full] = ready(element("answers"), height + AXIS), width = full - gutter - right;
  const {accent, faint, ink} = colors(), last = answers.at(-1)?.[1];
  const best = last ? last.indexOf(Math.max(...last)) : -1;
  const most = answers.reduce((found, [, y]) => Math.max(found, ...y), 0.01);
  ground(context, gutter, 0, width, height);
  classes.forEach((k, row) => {
    const top = row * ROW;
    context.fillStyle = accent;
    for (let n = 0; n < answers.length; n++) {
      const p = answers[n][1][k];
      if (p < NAMED) continue;
      const from = Math.max(gutter, place(n ? answers[n - 1][0] : answers[n][0], gutter, width));
      const to = place(answers[n][0], gutter, width);
      context.globalAlpha = (p / most) ** 2;  // many networks are never sure
      context.fillRect(from, top + 1, Math.max(0, to - from) + 0.3, ROW - 2);
    }
    context.globalAlpha = 1;
    context.fillStyle = k === best ? ink : faint;
    context.font = (k === best ? "600 " : "") + "11px system-ui, sans-serif";
    context.textAlign = "right";
    label(context, layout.outputs[k], gutter - 8, top + ROW / 2, gutter - 10);
    if (last && last[k] >= NAMED) context.fillText(`${(100 * last[k]).toFixed(0)} %`, full - 1, top + ROW / 2);
  });
  context.font = "11px system-ui, sans-serif";
  axis(context, gutter, height, width);
}

function drawValues(gutter) {
  const height = 110, right = 36, [context, full] = ready(element("answers"), height + AXIS);
  const width = full - gutter - right, {accent, second, third, faint} = colors();
  const all = answers.flatMap(([, y]) => [...y]), [low, high] = [Math.min(...all), Math.max(...all)];
  ground(context, gutter, 0, width, height);
  layout.outputs.forEach((name, k) => {
    const color = [accent, second, third][k % 3], y = v => height - 6 - (height - 12) * (v - low) / (high - low || 1);
    context.strokeStyle = context.fillStyle = color;
    context.beginPath();
    for (const [t, values] of answers) if (t > now - layout.window_ms) context.lineTo(place(t, gutter, width), y(values[k]));
    context.stroke();
    context.textAlign = "right";
    if (k < 7) label(context, name, gutter - 8, 10 + k * ROW, gutter - 10);
  });
  context.fillStyle = faint;
  context.textAlign = "left";
  if (all.length) [context.fillText(short(high), full - right + 4, 8), context.fillText(short(low), full - right + 4, height - 8)];
  axis(context, gutter, height, width);
}

function drawLayers(gutter) {
  const height = layers.reduce((sum, layer) => sum + layer.height + 5, 0), right = 36;
  if (!height) return;
  const [context, full] = ready(element("layers"), height + AXIS - 4), width = full - gutter - right;
  const {ink, faint, accent_rgb, second_rgb, third_rgb} = colors();
  let top = 0;
  layers.forEach((layer, k) => {
    layer.color = [accent_rgb, second_rgb, third_rgb][k % 3];
    ground(context, gutter, top, width, layer.height);
    layer.draw(context, layer.end ?? column, gutter, top, width);
    context.textAlign = "right";
    context.fillStyle = ink;
    const middle = top + layer.height / 2, two = layer.height >= 28;
    label(context, layer.name, gutter - 8, two ? middle - 6 : middle, two ? gutter - 10 : 44);
    const shape = layer.shape[1] * layer.shape[2] > 1 ? layer.shape.join("\u00d7") : whole(layer.shape[0]);
    context.fillStyle = faint;
    if (two) label(context, shape, gutter - 8, middle + 7, gutter - 10);
    else if (gutter > 100) label(context, shape, gutter - 54, middle, gutter - 56);
    top += layer.height + 5;
  });
  axis(context, gutter, top - 5, width);
}

function drawTimes(gutter) {
  const height = 84, right = 36, [context, full] = ready(element("times"), height + AXIS);
  const width = full - gutter - right, {accent, faint, line, off} = colors(), limit = layout.dt * 1000;
  ground(context, gutter, 0, width, height);
  write("times_note", `\u00b5s, of ${short(limit)} in real time`);
  let [low, high] = [Infinity, limit];
  for (const [, us] of times) [low, high] = [Math.min(low, us), Math.max(high, us)];
  low = Math.floor(Math.log10(Math.max(0.1, isFinite(low) ? low : limit / 100)));
  high = Math.max(low + 1, Math.log10(high) + 0.1);
  const y = us => height - 3 - (height - 6) * (Math.log10(Math.max(us, 0.1)) - low) / (high - low);
  context.textAlign = "right";
  for (let power = low; power <= high; power++) {
    context.fillStyle = line;
    context.fillRect(gutter, y(10 ** power), width, 1);
    context.fillStyle = faint;
    context.fillText(power < 3 ? `${short(10 ** power)} \u00b5s` : `${short(10 ** (power - 3))} ms`, gutter - 8, Math.max(7, Math.min(height - 6, y(10 ** power))));
  }
  context.fillStyle = off;
  context.fillRect(gutter, y(limit), width, 1);
  context.fillStyle = accent;
  for (const [t, us] of times) context.fillRect(place(t, gutter, width) - 0.7, y(us) - 0.7, 1.6, 1.6);
  axis(context, gutter, height, width);
}

element("pause").addEventListener("click", () => {
  paused = !paused;
  element("pause").textContent = paused ? "Go on" : "Pause";
  draw();
});
onChange(() => {
  for (const layer of layers) layer.dirty = true;
  draw();
});
follow(take, lost);
