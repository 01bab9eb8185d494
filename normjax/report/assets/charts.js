/* Draws the charts of the page: when it is loaded, resized, printed, or changed. */
(() => {
  "use strict";
  const { strokes, reading, saving, tools } = normjax;

  const GAP = 20; // pixels between panels
  const LEAST = { lines: 280, points: 300, rows: 420, tiles: 300 }; // width of a panel
  const LEAST_PRINTED = { ...LEAST, lines: 205, points: 205 }; // paper has more dots
  const UNSEEN = 640; // width of a chart that is hidden and must be drawn all the same
  const PRINTED = 680; // and of one on paper: A4 without its margins, in pixels
  const WAIT = 120; // milliseconds after the last change of the width

  const charts = []; // one controller for each figure
  let isPrinting = false;

  /** What a screen reader says of a chart before its marks are read. */
  function summary(chart) {
    const labels = chart.panels.flatMap((p) => p.marks.map((m) => m.label)).filter(Boolean);
    const names = [...new Set(labels)];
    const some = names.length > 8 ? `${names.slice(0, 8).join("; ")} and ${names.length - 8} more` : names.join("; ");
    const axes = [chart.y.label, chart.x.label].filter(Boolean).join(" against ");
    const panels = chart.panels.length > 1 ? `${chart.panels.length} panels. ` : "";
    return `${axes}. ${panels}${some ? `Shown: ${some}. ` : ""}${chart.note}`;
  }

  /** How wide and high a panel is, and how many stand beside each other. */
  function size(chart, width) {
    const least = (isPrinting ? LEAST_PRINTED : LEAST)[chart.kind];
    const fitting = Math.floor((width + GAP) / (least + GAP));
    const wanted = Math.min(chart.columns, chart.panels.length);
    const isEven = (n) => wanted % n === 0; // so that rows stay rows
    const even = d3.range(Math.min(wanted, fitting), 0, -1).find(isEven) ?? 1;
    const columns = even === 1 && wanted > 1 ? Math.max(1, Math.min(wanted, fitting)) : even;
    const each = Math.floor((width - GAP * (columns - 1)) / columns);
    const height = Math.min(Math.max(Math.round(each * 0.6), 230), 360);
    return { columns, width: each, height };
  }

  function controller(figure, chart) {
    const plot = figure.querySelector(".plot");
    const view = {
      log: { x: chart.x.logarithmic, y: chart.y.logarithmic }, smoothing: 0, seeds: false,
    };
    const self = { figure, isStale: true, width: 0, panels: [] };
    const { details, update } = tools.numbers(chart, () => normjax[chart.kind].table(chart));

    self.isVisible = () => plot.clientWidth > 0;
    self.draw = () => {
      self.isStale = false;
      self.width = plot.clientWidth;
      clear();
      const wide = isPrinting ? PRINTED : plot.clientWidth || UNSEEN;
      const { columns, ...each } = size(chart, wide);
      const drawn = normjax[chart.kind].draw(chart, { ...view, ...each });
      self.panels = drawn.filter(Boolean);
      for (const panel of self.panels) name(panel, chart, drawn.indexOf(panel));
      plot.style.setProperty("--columns", columns);
      sayUnlabelled(self.panels);
      plot.replaceChildren(...(self.panels.length ? self.panels.map((x) => x.svg) : [nothing()]));
      figure.dataset.drawn = "true";
      update();
      plot.dispatchEvent(new Event("drawn", { bubbles: true }));
    };
    const clear = reading.attach(figure, plot, () => self.panels);
    tools.tools(figure.querySelector(".tools"), chart, view, {
      redraw: self.draw, save: () => saving.save(chart, plot, self.panels),
    });
    const unlabelled = document.createElement("p");
    unlabelled.className = "note unlabelled";
    const sayUnlabelled = (panels) => {
      const texts = panels.flatMap((x) => x.unlabelled ?? []);
      unlabelled.hidden = !texts.length;
      unlabelled.textContent = `Without room for a label: ${texts.join(", ")}.`;
    };
    plot.after(unlabelled, details);
    plot.tabIndex = 0;
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-roledescription", "chart");
    plot.setAttribute("aria-label", `${chart.title}. Arrow keys move through the marks.`);
    plot.setAttribute("aria-description", summary(chart));
    self.picture = () => saving.picture(chart, plot, self.panels);
    return self;
  }

  /** The accessible name of a panel, and what it shows. */
  function name(panel, chart, position) {
    const title = chart.panels[position]?.title;
    panel.svg.setAttribute("role", "img");
    panel.svg.setAttribute("aria-label", panel.isRamp
      ? "what the colours stand for" : [chart.title, title].filter(Boolean).join(": "));
    panel.svg.setAttribute("aria-description", panel.isRamp ? "" : summary(chart));
  }

  function nothing() {
    const text = document.createElement("p");
    text.className = "nothing";
    text.textContent = "Nothing to show: what this chart draws is hidden, or has no finite number.";
    return text;
  }

  let timer = 0;

  /** Draws what is stale, one chart at a time, those nearest to the screen first. */
  function drawSoon() {
    timer ||= setTimeout(() => {
      timer = 0;
      const stale = charts.filter((x) => x.isStale && x.isVisible());
      const middle = window.innerHeight / 2;
      const distance = ({ figure }) => {
        const box = figure.getBoundingClientRect();
        return Math.max(box.top - middle, middle - box.bottom);
      };
      d3.least(stale, distance)?.draw();
      if (stale.length > 1) drawSoon();
    });
  }

  function redrawAll() {
    for (const chart of charts) chart.isStale = true;
    drawSoon();
  }

  /** Draws every chart that is not drawn, those on closed parts of the page too. */
  function drawAll() {
    for (const chart of charts) if (chart.isStale) chart.draw();
  }

  function watchWidths() {
    let waiting = 0;
    const observer = new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        if (isPrinting) return;
        for (const chart of charts) {
          const width = chart.figure.querySelector(".plot").clientWidth;
          if (width && width !== chart.width) chart.isStale = true;
        }
        drawSoon();
      }, WAIT);
    });
    for (const chart of charts) observer.observe(chart.figure);
  }

  function print(isOn) {
    isPrinting = isOn;
    for (const chart of charts) chart.isStale = true;
    if (isOn) drawAll();
    else drawSoon();
  }

  function start() {
    const source = document.getElementById("chart-data");
    if (!source) return;
    const data = JSON.parse(source.textContent);
    strokes.load(data.strokes);
    const legend = document.getElementById("legend");
    if (legend && Object.keys(data.strokes).length) strokes.legend(legend, data.legend);
    for (const chart of data.charts) {
      const figure = document.getElementById(`chart-${chart.name}`);
      if (figure) charts.push(controller(figure, chart));
    }
    strokes.onChange(redrawAll);
    watchWidths();
    window.addEventListener("beforeprint", () => print(true));
    window.addEventListener("afterprint", () => print(false));
    drawSoon();
  }

  normjax.charts = charts;
  normjax.drawAll = drawAll;
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
