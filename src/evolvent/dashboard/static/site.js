// What cannot be done by the server: the chart that answers to a pointer, and what happens while one looks.
(() => {
  "use strict";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const written = (value, decimals) =>
    value === null || value === undefined ? "\u2013" : (decimals < 0 ? String(+value.toPrecision(5)) : value.toFixed(decimals)).replace("-", "\u2212");

  const finest = (all) => Math.max(...all.map((one) => (String(+one.toFixed(6)).split(".")[1] || "").length));

  // ------------------------------------------------------------ the chart of the best over time
  function drawChart(box) {
    const data = JSON.parse(box.dataset.chart);
    if (!data.number.length) return;
    const last = box.clientWidth;
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    const options = {
      width: last, height: 260, padding: [10, 10, 0, 0], legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { range: data.range } },
      axes: [axis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000], size: 28, gap: 6 }),
        axis({ size: 54, values: (_, all) => all.map((one) => written(one, finest(all))) })],
      series: [{}, { show: true, paths: () => null, points: { show: false } },
        { stroke: colour("--mark"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
      hooks: { draw: [(plot) => drawRuns(plot, data)], setCursor: [(plot) => point(plot, data, tip)] },
    };
    const old = box.querySelector(".uplot, svg");
    if (old) old.remove();
    box.plot = new uPlot(options, [data.number, data.value, data.best], box);
    box.plot.over.append(tip);
    box.plot.over.addEventListener("click", () => {
      const place = box.plot.cursor.idx;
      if (place !== null && place !== undefined) location.assign(data.href[place]);
    });
  }

  function axis(more) {
    return { stroke: colour("--soft"), font: "11px system-ui, sans-serif", grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, ...more };
  }

  function drawRuns(plot, data) {
    const pen = plot.ctx, ratio = devicePixelRatio, [low, high] = data.range;
    const inside = (value) => plot.valToPos(Math.min(high, Math.max(low, value)), "y", true);
    pen.save();
    data.number.forEach((number, place) => {
      const x = plot.valToPos(number, "x", true);
      if (data.low[place] !== null && data.high[place] > data.low[place]) {
        pen.globalAlpha = 0.4;
        pen.strokeStyle = colour("--edge");
        pen.lineWidth = 1.5 * ratio;
        pen.beginPath();
        pen.moveTo(x, inside(data.low[place]));
        pen.lineTo(x, inside(data.high[place]));
        pen.stroke();
      }
      pen.globalAlpha = data.value[place] < low || data.value[place] > high ? 0.35 : 1;
      pen.fillStyle = colour(data.isKept[place] ? "--mark" : "--edge");
      pen.beginPath();
      pen.arc(x, inside(data.value[place]), (data.isKept[place] ? 4.5 : 3) * ratio, 0, 7);
      pen.fill();
    });
    pen.restore();
  }

  function point(plot, data, tip) {
    const place = plot.cursor.idx;
    tip.hidden = place === null || place === undefined || plot.cursor.left < 0;
    if (tip.hidden) return;
    const decimals = data.decimals;
    const bounds = data.low[place] === null || data.low[place] === data.high[place] ? "" : ` (${written(data.low[place], decimals)} to ${written(data.high[place], decimals)})`;
    tip.textContent = `#${data.number[place]} ${data.agent[place]}: ${written(data.value[place], decimals)}${bounds}`;
    const x = plot.valToPos(data.number[place], "x");
    tip.style.left = `${Math.min(Math.max(0, x - 60), plot.over.clientWidth - tip.offsetWidth)}px`;
    tip.style.top = "2px";
  }

  function drawCharts() {
    if (typeof uPlot === "undefined") return;
    for (const box of document.querySelectorAll("[data-chart]")) {
      if (box.drawn === box.dataset.chart && box.querySelector(".uplot")) continue;
      box.drawn = box.dataset.chart;
      if (box.plot) box.plot.destroy();
      drawChart(box);
    }
  }

  function fitCharts() {
    for (const box of document.querySelectorAll("[data-chart]"))
      if (box.plot && box.plot.width !== box.clientWidth) box.plot.setSize({ width: box.clientWidth, height: 260 });
  }

  function redrawCharts() {
    for (const box of document.querySelectorAll("[data-chart]")) box.drawn = null;
    drawCharts();
  }

  // ------------------------------------------------------------ what happens while one looks
  function watch(list) {
    const lamp = document.querySelector("[data-lamp]");
    let due = null, busy = false;
    const source = new EventSource(list.dataset.stream);
    const heard = () => { if (!due) due = setTimeout(refresh, 400); };
    const show = (state, words) => { if (lamp) { lamp.dataset.state = state; lamp.textContent = words; } };
    source.onopen = () => show("on", "live");
    source.onerror = () => show("off", "connection lost, trying again");
    source.onmessage = heard;
    for (const kind of list.dataset.kinds.split("|")) source.addEventListener(kind, heard);
    async function refresh() {
      due = null;
      if (busy) { heard(); return; }
      busy = true;
      const newest = list.querySelector("[data-event]");
      const after = newest ? newest.dataset.event : "0";
      const swap = async (path, how) => { try { await htmx.ajax("GET", path, how); } catch { show("off", "not answered, trying again"); } };
      await swap(`${list.dataset.rows}&after=${encodeURIComponent(after)}`, { target: list, swap: "afterbegin", source: list });
      while (list.children.length > 60) list.lastElementChild.remove();
      const nothing = document.querySelector("[data-nothing]");
      if (nothing && list.children.length) nothing.remove();
      for (const part of document.querySelectorAll("[data-part]"))
        await swap(part.dataset.part, { target: part, swap: "innerMorph", source: part });
      drawCharts();
      busy = false;
    }
    addEventListener("pagehide", () => source.close());
  }

  // ages are told by the server, and grow old on a page that stays open
  function tellAges() {
    for (const one of document.querySelectorAll("time[datetime]")) {
      const seconds = (Date.now() - Date.parse(one.dateTime)) / 1000;
      if (!(seconds >= 5 && seconds < 30 * 86400)) continue;
      const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([least]) => seconds >= least);
      const words = `${Math.floor(seconds / size)} ${unit} ago`;
      if (one.textContent !== words) one.textContent = words;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    drawCharts();
    const list = document.querySelector("[data-stream]");
    if (list && typeof EventSource !== "undefined") watch(list);
    setInterval(tellAges, 20_000);
    addEventListener("resize", fitCharts);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
  });
})();
