// The page of a training: curves over epochs, from the files of its run.

import {clock, colors, element, follow, onChange, ready, short, write} from "./page.js";

const HEIGHT = 190, LEFT = 48, RIGHT = 10, BOTTOM = 20, ASK_MS = 1000;
const HUES = [172, 265, 32, 210, 340, 95, 20, 300, 60, 190];
let values = null, arrays = {}, charts = [], clockSkew = 0, received = 0;

const percent = v => isFinite(v) ? `${+(100 * v).toFixed(1)} %` : "\u2013";
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const hue = k => `hsl(${HUES[k % HUES.length]} 70% ${dark() ? 66 : 36}%)`;

// Round values of an axis, some three to six; of a logarithmic one, low and high are powers of ten.
function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power++)
      for (const digit of high - low > 2.5 ? [1] : [1, 2, 5]) found.push(digit * 10 ** power);
    return found.filter(v => Math.log10(v) >= low && Math.log10(v) <= high);
  }
  const size = 10 ** Math.floor(Math.log10(high - low));
  const step = [0.2, 0.5, 1, 2, 5].map(s => s * size).find(s => (high - low) / s <= 6);
  return Array.from({length: 8}, (_, n) => (Math.ceil(low / step) + n) * step).filter(v => v <= high);
}

class Chart {
  constructor(name, series, text = short, options = {}) {
    Object.assign(this, {name, series, text, options, at: null});
    this.card = document.createElement("section");
    const head = document.createElement("h2");
    head.textContent = name;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${name} over epochs`);
    this.legend = document.createElement("p");
    this.legend.className = "legend";
    this.card.append(head, this.canvas, this.legend);
    element("charts").append(this.card);
    this.canvas.addEventListener("pointermove", event => { this.at = event.offsetX; this.draw(); });
    this.canvas.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
  }

  draw() {
    const [context, full] = ready(this.canvas, HEIGHT), width = full - LEFT - RIGHT, height = HEIGHT - BOTTOM;
    const {faint, line, screen, ink} = colors();
    context.fillStyle = screen;
    context.fillRect(LEFT, 0, width, height);
    const end = Math.max(2, values.num_epochs && values.status === "running" ? values.num_epochs : arrays.epoch?.length ?? 0);
    const x = epoch => LEFT + width * (epoch - 0.5) / end;
    const all = this.series.flatMap(one => [...one.y].filter(isFinite));
    const log = this.options.log && all.length > 0 && Math.min(...all) > 0 && Math.max(...all) > 20 * Math.min(...all);
    const scale = v => log ? Math.log10(v) : v;
    let [low, high] = [Math.min(...all.map(scale)), Math.max(...all.map(scale))];
    if (!all.length) [low, high] = [0, 1];
    if (this.options.zero && !log) low = Math.min(0, low);
    if (high - low < 1e-9) [low, high] = [low - 0.5 * Math.abs(low || 1), high + 0.5 * Math.abs(high || 1)];
    [low, high] = [low - (this.options.zero && low === 0 ? 0 : 0.04 * (high - low)), high + 0.06 * (high - low)];
    const y = v => height - height * (scale(v) - low) / (high - low);
    context.textAlign = "right";
    for (const v of ticks(low, high, log)) {
      context.fillStyle = line;
      context.fillRect(LEFT, y(v), width, 1);
      context.fillStyle = faint;
      if (y(v) > 6 && y(v) < height - 4) context.fillText(this.text(v), LEFT - 6, y(v));
    }
    context.textAlign = "center";
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find(s => (s / end) * width > 34) ?? end;
    for (let e = step; e <= end; e += step) context.fillText(e, x(e), height + 11);
    if (values.chosen !== null && values.chosen !== undefined) {
      context.fillStyle = faint;
      context.fillRect(x(values.chosen + 1), 0, 1, height);
      context.textAlign = "right";
      context.fillText("chosen", x(values.chosen + 1) - 4, height - 8);
    }
    this.series.forEach((one, k) => {
      context.strokeStyle = context.fillStyle = one.color();
      [context.globalAlpha, context.lineWidth] = [one.faint ? 0.35 : 1, one.faint ? 1 : 1.8];
      context.setLineDash(one.dashed ? [4, 3] : []);
      context.beginPath();
      one.y.forEach((v, n) => isFinite(v) && context.lineTo(x(one.x[n]), y(v)));
      context.stroke();
      context.setLineDash([]);
      if (!one.faint && one.y.length < 40)
        one.y.forEach((v, n) => isFinite(v) && (context.beginPath(), context.arc(x(one.x[n]), y(v), 2.2, 0, 7), context.fill()));
    });
    context.globalAlpha = 1;
    let epoch = null;
    if (this.at !== null) {
      epoch = Math.max(1, Math.min(arrays.epoch?.length ?? 1, Math.round((this.at - LEFT) / width * end + 0.5)));
      context.fillStyle = ink;
      context.fillRect(x(epoch), 0, 1, height);
    }
    this.legend.replaceChildren(...this.series.filter(one => !one.faint).map(one => {
      const part = document.createElement("span"), mark = document.createElement("i"), number = document.createElement("b");
      mark.style.background = one.color();
      const n = epoch === null ? one.y.findLastIndex(isFinite) : one.x.indexOf(epoch);
      number.textContent = n < 0 ? "\u2013" : this.text(one.y[n]);
      part.append(mark, one.name + " ", number);
      return part;
    }));
    if (epoch !== null) this.legend.append(`epoch ${epoch}`);
  }
}

function columns(kind) {
  const pattern = new RegExp(`^(train|val)/${kind}/(.+)$`), found = new Map();
  for (const name of Object.keys(arrays)) {
    const match = pattern.exec(name);
    if (match && (!found.has(match[2]) || match[1] === "val")) found.set(match[2], name);
  }
  return [...found].sort();
}

function curve(name, color, more = {}) {
  const y = arrays[name];
  return y && {name: name.split("/")[0] === "val" ? "validation" : "training", x: [...arrays.epoch].map(e => e + 1), y: [...y], color, ...more};
}

function build() {
  const green = () => colors().accent, violet = () => colors().second;
  const pair = kind => [curve(`train/${kind}`, green), curve(`val/${kind}`, violet)].filter(Boolean);
  const wanted = [];
  const loss = pair("loss"), per = steps_per_epoch();
  if (arrays.steps.length && per) {
    const faint = {name: "steps", x: [...arrays.steps].map(s => (s + 1) / per + 0.5), y: [...arrays.steps_loss]};
    loss.unshift({...faint, color: green, faint: true});
  }
  wanted.push(["Loss", loss, short, {log: true}]);
  if (pair("accuracy").length) wanted.push(["Accuracy", pair("accuracy"), percent, {}]);
  if (pair("mae").length) wanted.push(["Mean absolute error", pair("mae"), short, {zero: true}]);
  const layered = (kind, title, text, options) => {
    const found = columns(kind).map(([layer, name], k) => ({...curve(name, () => hue(k)), name: layer}));
    if (found.length) wanted.push([title, found, text, options]);
  };
  layered("rate_hz", "Spike rate by layer, Hz", short, {zero: true});
  layered("silent", "Neurons without a spike, by layer", percent, {zero: true});
  if (arrays.lr) wanted.push(["Learning rate", [curve("lr", green, {name: "learning rate"})], v => String(+v.toPrecision(2)), {log: true}]);
  if (wanted.map(([name]) => name).join() !== charts.map(chart => chart.name).join()) {
    element("charts").replaceChildren();
    charts = wanted.map(([name, series, text, options]) => new Chart(name, series, text, options));
  }
  wanted.forEach(([, series], k) => { charts[k].series = series; });
}

function steps_per_epoch() {
  const done = arrays.epoch?.length ?? 0;
  return done ? (arrays.step[done - 1] + 1) / (arrays.epoch[done - 1] + 1) : arrays.steps.length ? arrays.steps.at(-1) + 1 : 0;
}

const best = (name, sign) => {
  const found = [...(arrays[name] ?? [])].filter(isFinite);
  return found.length ? sign * Math.max(...found.map(v => sign * v)) : NaN;
};
const last = name => arrays[name]?.length ? arrays[name].at(-1) : NaN;

function numbers() {
  const done = arrays.epoch?.length ?? 0, total = values.num_epochs, running = values.status === "running";
  write("run", `snnlab watch ${values.name}`);
  document.title = `${values.name} \u2013 snnlab watch`;
  write("folder", values.folder.replace(/^.*\/(?=[^/]+$)/, ""));
  element("folder").title = values.folder;
  write("epoch", String(done), total ? `of ${total}` : "");
  write("each", values.epoch_s ? clock(values.epoch_s) : "\u2013");
  const accuracy = arrays["val/accuracy"] ?? arrays["train/accuracy"], mae = arrays["val/mae"] ?? arrays["train/mae"];
  const part = arrays["val/loss"] ? "val" : "train", where = part === "val" ? "validation" : "training";
  if (accuracy) write("score", percent(last(`${part}/accuracy`)), `best ${percent(best(`${part}/accuracy`, 1))}`);
  else write("score", short(last(`${part}/mae`)), mae ? `best ${short(best(`${part}/mae`, -1))}` : "");
  write("score_name", `${accuracy || !mae ? "accuracy" : "mean absolute error"}, ${where}`);
  write("loss", short(last(`${part}/loss`)), `best ${short(best(`${part}/loss`, -1))}`);
  write("spikes", short(last(`${part}/spikes_per_sample`)));
  const test = values.test;
  write("test", "test/accuracy" in test ? percent(test["test/accuracy"]) : "test/mae" in test ? short(test["test/mae"]) : "\u2013",
    "test/accuracy" in test || "test/mae" in test ? "" : running ? "after the training" : "");
  element("bar").firstElementChild.style.width = total ? `${Math.min(100, 100 * done / total)}%` : "0";
  const state = element("state");
  write("state", {running: "training", stopped: "not running: interrupted"}[values.status] ?? values.status);
  state.className = running ? "" : values.status === "failed" ? "lost" : "ended";
  const problem = values.problem ?? values.error;
  element("problem").hidden = !problem;
  write("problem", problem ?? "");
  element("problems_card").hidden = !values.problems.length;
  element("problems").replaceChildren(...values.problems.map(text => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

function timeLeft() {
  if (values.status !== "running") return write("left", "\u2013");
  write("left", values.left_s === null ? "after two epochs" : clock(Math.max(0, Math.round(values.left_s - (performance.now() - received) / 1000))));
}

function take(found, given) {
  if (!found.same) {
    [values, arrays, received] = [found, given, performance.now()];
    for (const name of ["steps", "steps_loss", "epoch", "step"]) arrays[name] ??= new Float64Array();
    build();
    numbers();
    for (const chart of charts) chart.draw();
    [document.body.dataset.epochs, document.body.dataset.status] = [arrays.epoch.length, values.status];
  } else if (values) numbers();
  timeLeft();
  return ASK_MS;
}

function lost(times) {
  write("state", "snnlab watch has ended");
  element("state").className = "lost";
  return true;
}

onChange(() => { for (const chart of charts) chart.draw(); });
follow(take, lost);
