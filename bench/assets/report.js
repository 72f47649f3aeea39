// Draws the charts of a page. Their numbers stand in the page (#plots), ready to be drawn.
(function () {
"use strict";

// Okabe and Ito's colours, which people of all kinds of sight tell apart; their yellow is too pale here.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3]];
// ColorBrewer's YlGnBu without its palest: few to many.
const HEAT = ["#dfefc1", "#b5e0b8", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#14276b"];

const FONT = "12px \"Liberation Serif\", Palatino, Georgia, serif";
const INK = "#333", GRID = "rgba(0,0,0,0.08)";
const HEIGHT = 230, AXIS = 46, LABEL = 18;

const colour = at => COLOURS[at % COLOURS.length];
const dash = at => DASHES[Math.floor(at / COLOURS.length) % DASHES.length];

// Three digits that count.
function number(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(Math.max(0, Math.min(6, 2 - Math.floor(Math.log10(size)))));
}

// Marks of an axis: no digit that says nothing.
const plain = (u, marks) => marks.map(mark => Number(mark.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 }));

function time(us) {
  const short = value => String(Number(value.toPrecision(3)));
  if (us < 1e3) return short(us) + " \u00b5s";
  if (us < 1e6) return short(us / 1e3) + " ms";
  return short(us / 1e6) + " s";
}

// The percentile of 1/(1-p): 0 %, 50 %, 90 %, 99 %, 99.9 % ...
function percent(inverse) {
  if (inverse <= 1) return "0 %";
  const nines = Math.log10(inverse);
  const digits = Math.max(0, Math.ceil(nines - 1e-9) - 2) + (Number.isInteger(nines) || inverse === 2 ? 0 : 1);
  return (100 - 100 / inverse).toFixed(digits) + " %";
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Marks 1, 2, 5, 10 ... within a range; only tens where there are many of them.
function logMarks(min, max) {
  const few = Math.log10(max / min) < 2.2;
  const marks = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
    for (const step of few ? [1, 2, 5] : [1]) {
      const mark = step * Math.pow(10, power);
      if (mark >= min * 0.999 && mark <= max * 1.001) marks.push(mark);
    }
  }
  return marks;
}

// The marks around a range of values, so that no curve touches the frame.
function logRange(min, max) {
  if (!(min > 0) || !(max > 0)) return [1, 10];
  const steps = [1, 2, 5, 10];
  const floor = value => {
    const power = Math.pow(10, Math.floor(Math.log10(value * 1.0001)));
    return power * steps.filter(step => step * power <= value * 1.0001).pop();
  };
  const low = floor(min);
  const high = floor(max * 2.4);
  return [low, Math.max(high, low * 5)];
}

function axis(options) {
  return Object.assign({
    font: FONT, labelFont: FONT, stroke: INK, size: AXIS, labelSize: LABEL, labelGap: 0, gap: 4,
    grid: { stroke: GRID, width: 1 }, ticks: { stroke: GRID, width: 1, size: 4 },
    border: { show: true, stroke: "#999", width: 1 },
  }, options);
}

function latencyAxis() {
  return axis({
    scale: "y", label: "latency", size: 56,
    splits: (u, at, min, max) => logMarks(min, max), filter: (u, marks) => marks,
    values: (u, marks) => marks.map(time),
  });
}

// Seconds; of long phases minutes or hours.
function timeAxis(end) {
  const [unit, name] = end > 10800 ? [3600, "hours"] : end > 600 ? [60, "minutes"] : [1, "seconds"];
  const incrs = [];
  for (const power of [0.1, 1, 10, 100, 1000]) for (const step of [1, 2, 5]) incrs.push(step * power * unit);
  return axis({ scale: "x", label: name + " since the phase began to count", size: 26, incrs,
    values: (u, marks) => plain(u, marks.map(mark => mark / unit)) });
}

function legend(figure, entries) {
  const list = element("div", "legend");
  for (const entry of entries) {
    const item = element("span");
    const mark = element("i", entry.block ? "block" : entry.hollow ? "hollow" : "");
    if (entry.block) mark.style.background = entry.colour;
    else {
      mark.style.borderColor = entry.colour;
      if (entry.dashed) mark.style.borderTopStyle = entry.dashed;
    }
    item.append(mark, entry.name);
    list.append(item);
  }
  figure.append(list);
  return list;
}

const dashName = at => [undefined, "dashed", "dotted", "dashed"][Math.floor(at / COLOURS.length) % 4];

function chart(figure, options, data, read) {
  const place = figure.querySelector(".plot");
  const readout = element("p", "readout");
  const tell = u => {
    const inside = u.cursor.left >= 0 && u.cursor.idx !== null && u.cursor.idx !== undefined;
    readout.textContent = inside ? read(u) : "";
  };
  const made = new uPlot(Object.assign({
    width: Math.max(320, place.clientWidth), height: HEIGHT, legend: { show: false },
    padding: [10, 24, 0, 0],
    cursor: { drag: { setScale: false, x: false, y: false }, points: { size: 5 }, y: false },
    hooks: {},
  }, options, { hooks: Object.assign({ setCursor: [tell] }, options.hooks) }), data, place);
  window.addEventListener("resize", () => {
    if (place.clientWidth > 0) made.setSize({ width: Math.max(320, place.clientWidth), height: made.height });
  });
  return () => figure.append(readout);
}

// The value of a series at an index, or before it where it has none there.
function valueAt(values, index) {
  let at = index;
  while (at >= 0 && (values[at] === null || values[at] === undefined)) at--;
  return at >= 0 ? values[at] : null;
}

function percentiles(figure, plot) {
  const data = uPlot.join(plot.curves.map(curve => [
    curve.points.map(point => point[0]), curve.points.map(point => point[1]),
  ]));
  const last = data[0][data[0].length - 1];
  const end = Math.max(last * 1.15, 20);
  // The marks before 90 % stand too close to each other on a long axis.
  const marks = end < 3e3 ? [1, 2] : [2];
  for (let mark = 10; mark <= end; mark *= 10) marks.push(mark);
  const series = plot.curves.map(curve => ({
    scale: "y", stroke: colour(curve.colour), dash: dash(curve.colour), width: 1.6,
    spanGaps: true, points: { show: false },
  }));
  const tall = figure.closest("#overview") ? HEIGHT * 1.4 : HEIGHT;
  const done = chart(figure, {
    height: tall,
    scales: {
      x: { time: false, distr: 3, log: 10, range: () => [1, end] },
      y: { distr: 3, log: 10, range: (u, min, max) => logRange(min, max) },
    },
    axes: [
      axis({ scale: "x", label: "percentile, by 1/(1\u2212p)", size: 26, splits: () => marks,
        filter: (u, all) => all, values: (u, all) => all.map(percent) }),
      latencyAxis(),
    ],
    series: [{}].concat(series),
  }, data, u => {
    const parts = plot.curves.map((curve, at) => {
      const value = valueAt(data[at + 1], u.cursor.idx);
      return value === null ? "" : curve.name + " " + time(value);
    });
    return percent(data[0][u.cursor.idx]) + ": " + parts.filter(part => part).join(", ");
  });
  const seen = new Set();
  legend(figure, plot.curves.filter(curve => {
    const key = curve.colour + curve.name;
    return !seen.has(key) && seen.add(key);
  }).map(curve => ({ name: curve.name, colour: colour(curve.colour), dashed: dashName(curve.colour) })));
  done();
}

function lines(figure, plot) {
  let x = plot.at_s, values = plot.lines.map(line => line.values);
  if (plot.stepped) {
    // A mean holds from the end of the interval before; the first begins one interval earlier.
    const first = x.length > 1 ? Math.max(0, 2 * x[0] - x[1]) : 0;
    x = [first].concat(x);
    values = values.map(line => [line[0]].concat(line));
  }
  const series = plot.lines.map((line, at) => ({
    scale: "y", stroke: colour(at), width: 1.6, points: { show: false },
    paths: plot.stepped ? uPlot.paths.stepped({ align: -1 }) : uPlot.paths.linear(),
  }));
  const done = chart(figure, {
    scales: {
      x: { time: false, range: (u, min, max) => [plot.stepped ? min : 0, max > min ? max : min + 1] },
      y: { range: (u, min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    axes: [
      timeAxis(x[x.length - 1]),
      axis({ scale: "y", label: plot.y, size: 56, values: plain }),
    ],
    series: [{}].concat(series),
  }, [x].concat(values), u => {
    const parts = plot.lines.map((line, at) => {
      const value = values[at][u.cursor.idx];
      return value === null || value === undefined ? "" : line.name + " " + number(value);
    });
    return number(x[u.cursor.idx]) + " s: " + parts.filter(part => part).join(", ");
  });
  legend(figure, plot.lines.map((line, at) => ({ name: line.name, colour: colour(at) })));
  done();
}

// A line from the smallest to the largest of repetitions, on each bar.
function whiskers(u, plot, middle) {
  const ctx = u.ctx, ratio = uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = INK;
  ctx.lineWidth = 1.2 * ratio;
  plot.bars.forEach((bar, b) => bar.ranges.forEach((range, g) => {
    if (!range || range[0] === range[1]) return;
    const at = u.valToPos(middle(g * plot.bars.length + b), "x", true);
    const [low, high] = range.map(value => u.valToPos(value, "y", true));
    const half = 3 * ratio;
    ctx.beginPath();
    for (const end of [low, high]) {
      ctx.moveTo(at - half, end);
      ctx.lineTo(at + half, end);
    }
    ctx.moveTo(at, low);
    ctx.lineTo(at, high);
    ctx.stroke();
  }));
  ctx.restore();
}

function bars(figure, plot) {
  const each = 0.8 / plot.bars.length;
  const x = [], data = plot.bars.map(() => []);
  plot.groups.forEach((group, g) => plot.bars.forEach((bar, b) => {
    x.push(g + (b - (plot.bars.length - 1) / 2) * each);
    plot.bars.forEach((other, o) => data[o].push(o === b ? bar.values[g] : null));
  }));
  const label = u => {
    const ctx = u.ctx, ratio = uPlot.pxRatio;
    whiskers(u, plot, at => x[at]);
    const wide = (u.valToPos(each, "x", true) - u.valToPos(0, "x", true));
    ctx.save();
    ctx.font = Math.round(11 * ratio) + "px \"Liberation Serif\", Georgia, serif";
    ctx.fillStyle = INK;
    ctx.textAlign = "center";
    ctx.textBaseline = "bottom";
    data.forEach(values => values.forEach((value, at) => {
      if (value === null || value === undefined) return;
      const text = number(value);
      // Where bars are too narrow for their figures, those stay in the table.
      if (ctx.measureText(text).width > wide * 1.25) return;
      const range = plot.bars[at % plot.bars.length].ranges[Math.floor(at / plot.bars.length)];
      const top = range ? range[1] : value;
      ctx.fillText(text, u.valToPos(x[at], "x", true), u.valToPos(top, "y", true) - 3 * ratio);
    }));
    ctx.restore();
  };
  const highest = Math.max(0, ...plot.bars.flatMap(bar => bar.ranges.map(range => range ? range[1] : 0)));
  const longest = Math.max(...plot.groups.map(group => group.length));
  const slanted = longest * plot.groups.length > 70;
  const groupAxis = axis({
    scale: "x", splits: () => plot.groups.map((group, at) => at), filter: (u, all) => all,
    values: () => plot.groups, grid: { show: false }, rotate: slanted ? -35 : 0,
    size: slanted ? Math.min(90, 22 + longest * 3.8) : 28,
  });
  const done = chart(figure, {
    height: figure.closest("#overview, #bars") ? HEIGHT * 1.4 : HEIGHT,
    scales: {
      x: { time: false, range: () => [-0.55, plot.groups.length - 0.45] },
      y: { range: (u, min, max) => [0, Math.max(max, highest) > 0 ? Math.max(max, highest) * 1.15 : 1] },
    },
    axes: [groupAxis, axis({ scale: "y", label: plot.y, size: 56, values: plain })],
    series: [{}].concat(plot.bars.map((bar, at) => ({
      scale: "y", stroke: colour(at), fill: colour(at), width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [0.92, 46] }),
    }))),
    cursor: { x: false, y: false, points: { show: false }, drag: { x: false, y: false } },
    hooks: { draw: [label] },
  }, [x].concat(data), u => {
    const group = Math.max(0, Math.min(plot.groups.length - 1, Math.round(x[u.cursor.idx])));
    const parts = plot.bars.map(bar => bar.values[group] === null ? "" : bar.name + " " + number(bar.values[group]));
    return plot.groups[group] + ": " + parts.filter(part => part).join(", ");
  });
  legend(figure, plot.bars.map((bar, at) => ({ name: bar.name, colour: colour(at), block: true })));
  done();
}

function heat(figure, plot) {
  const columns = plot.columns;
  const begin = columns[0].begin_s, end = columns[columns.length - 1].end_s;
  const edge = row => Math.pow(10, row / plot.rows_a_decade);
  let most = 1, lowest = Infinity, highest = 0;
  for (const column of columns) for (const [row, count] of column.cells) {
    most = Math.max(most, count);
    lowest = Math.min(lowest, row);
    highest = Math.max(highest, row);
  }
  const shade = count => {
    const share = most > 1 ? Math.log(count) / Math.log(most) : 1;
    return HEAT[Math.min(HEAT.length - 1, Math.floor(share * HEAT.length))];
  };
  const cells = u => {
    const ctx = u.ctx;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    for (const column of columns) {
      const left = Math.round(u.valToPos(column.begin_s, "x", true));
      const right = Math.round(u.valToPos(column.end_s, "x", true));
      for (const [row, count] of column.cells) {
        const bottom = Math.round(u.valToPos(edge(row), "y", true));
        const top = Math.round(u.valToPos(edge(row + 1), "y", true));
        ctx.fillStyle = shade(count);
        ctx.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
      }
    }
    ctx.restore();
  };
  const middle = columns.map(column => (column.begin_s + column.end_s) / 2);
  const of = name => columns.map(column => column.cells.length ? Math.max(1, column[name]) : null);
  const line = (stroke, width) => ({ scale: "y", stroke, width, points: { show: false } });
  const low = edge(lowest), high = edge(highest + 1);
  const done = chart(figure, {
    scales: {
      x: { time: false, range: () => [begin, end] },
      y: { distr: 3, log: 10, range: () => [low / 1.3, Math.max(high * 1.3, low * 8)] },
    },
    axes: [timeAxis(end), latencyAxis()],
    // Each with a rim, since cells behind are dark or pale.
    series: [{}, line("#000", 4), line("#fff", 2), line("#fff", 3.4), line("#d55e00", 1.8)],
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    hooks: { drawAxes: [cells] },
  }, [middle, of("p50_us"), of("p50_us"), of("p99_us"), of("p99_us")], u => {
    const second = u.posToVal(u.cursor.left, "x"), us = u.posToVal(u.cursor.top, "y");
    const column = columns.find(it => second >= it.begin_s && second < it.end_s);
    if (!column) return "";
    const row = Math.floor(Math.log10(us) * plot.rows_a_decade);
    const cell = column.cells.find(it => it[0] === row);
    return number(column.begin_s) + " to " + number(column.end_s) + " s, " + time(edge(row)) + " to " +
      time(edge(row + 1)) + ": " + (cell ? number(cell[1]) : "none") + "; p50 " + time(column.p50_us) +
      ", p99 " + time(column.p99_us);
  });
  const list = legend(figure, [{ name: "p50", colour: "#000", hollow: true }, { name: "p99", colour: "#d55e00" }]);
  const scale = element("span", "scale", "a cell: 1 ");
  if (most > 1) {
    for (const step of HEAT) {
      const swatch = element("i");
      swatch.style.background = step;
      scale.append(swatch);
    }
    scale.append(" " + number(most) + " (log)");
  } else {
    const swatch = element("i");
    swatch.style.background = HEAT[HEAT.length - 1];
    scale.append(swatch);
  }
  list.append(scale);
  done();
}

const draw = { percentiles, lines, bars, heat };
const plots = JSON.parse(document.getElementById("plots").textContent);
function drawOnce(figure) {
  const plot = plots[Number(figure.dataset.plot)];
  if (!figure.dataset.drawn) draw[plot.kind](figure, plot);
  figure.dataset.drawn = "yes";
}

// What is folded away has no width yet: it is drawn when it is opened.
for (const figure of document.querySelectorAll("figure[data-plot]")) {
  const folded = figure.closest("details:not([open])");
  if (folded) folded.addEventListener("toggle", () => drawOnce(figure), { once: true });
  else drawOnce(figure);
}

const save = document.getElementById("save");
const results = document.getElementById("results").textContent;
save.href = URL.createObjectURL(new Blob([results], { type: "application/json" }));
document.documentElement.dataset.drawn = String(plots.length);
})();
