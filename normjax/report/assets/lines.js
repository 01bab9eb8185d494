/* Charts of kind `lines`: an estimate in a band for each stroke, against numbers. */
(() => {
  "use strict";
  const { number, interval, isNumber, smooth } = normjax.base;
  const { isVisible, colour, dash, symbol } = normjax.strokes;
  const { domain, frame, keyed } = normjax.axes;

  const FEW = 8; // points of a line: up to here they have symbols and error bars
  const DODGE = 4; // pixels between error bars at the same place

  /** The series of a panel that are shown, solid lines first: dashes lie on top. */
  function shown(panel) {
    const visible = panel.marks.filter((series) => isVisible(series.key));
    return d3.sort(visible, (series) => dash(series.key).length > 0);
  }

  /** The points of a series: [{x, y, low, high}], y smoothed. */
  function points(series, view) {
    const y = smooth(series.y, view.smoothing);
    const bound = (values, i) => values?.[i] ?? null;
    return series.x.map((x, i) => ({
      i, x, y: y[i], raw: series.y[i],
      low: bound(series.low, i), high: bound(series.high, i),
    }));
  }

  /** Every number that the y axis of these series has to hold. */
  function heights(list, view) {
    const bands = view.smoothing ? [] : list.flatMap((x) => [...(x.low ?? []), ...(x.high ?? [])]);
    const seeds = view.seeds ? list.flatMap((x) => (x.values ?? []).flat()) : [];
    const estimates = list.flatMap((x) => x.y);
    if (!view.log.y) return [...estimates, ...bands, ...seeds];
    // on a log axis a bound near zero must not squeeze what is estimated
    const floor = (d3.min(estimates, (x) => (x > 0 ? x : Infinity)) ?? 0) / 10;
    return [...estimates, ...[...bands, ...seeds].filter((x) => x >= floor)];
  }

  function draw(chart, view) {
    const panels = chart.panels.map(shown);
    const x = domain(chart.x, panels.flat().flatMap((s) => s.x), view.log.x);
    const together = domain(chart.y, heights(panels.flat(), view), view.log.y);
    return chart.panels.map((panel, i) => {
      const y = chart.same_y
        ? together : domain(chart.y, heights(panels[i], view), view.log.y);
      if (!x || !y || (panel.part_of && !panels[i].length)) return null;
      const isBeside = (other) => panel.part_of && other !== panel && other.part_of === panel.part_of;
      const beside = panels.filter((_, j) => isBeside(chart.panels[j])).flat();
      return drawPanel(chart, panel, panels[i], beside, { x, y }, view);
    });
  }

  /** The lines of other parts of a panel, faint behind its own. */
  function context(list, view, clean) {
    const data = list.filter((series) => series.joined).flatMap((series, z) =>
      clean(points(series, view)).map((point) => ({ ...point, z })));
    return Plot.lineY(data, {
      x: "x", y: "y", z: "z", clip: true, className: "context",
      stroke: "var(--soft)", strokeOpacity: 0.3, strokeWidth: 1,
    });
  }

  function drawPanel(chart, panel, list, beside, domains, view) {
    const { options, marks } = frame(panel.title, {
      width: view.width, height: view.height,
      x: { axis: chart.x, domain: domains.x, isLog: view.log.x },
      y: { axis: chart.y, domain: domains.y, isLog: view.log.y },
    });
    const few = list.every((series) => series.x.length <= FEW);
    const apart = few && list.some((series) => series.low);
    const shift = (i) => (apart ? (i - (list.length - 1) / 2) * dodge(list.length) : 0);
    const clean = cleaner(domains, view);
    const drawn = list.map((series, i) =>
      drawSeries(series, clean(points(series, view)), { few, dx: shift(i), view, clean }));
    const svg = Plot.plot({
      ...options,
      marks: [...marks, context(beside, view, clean), ...drawn.map((x) => x.under), ...drawn.map((x) => x.over)],
    });
    const groups = list.flatMap((series, i) =>
      readings(chart, series, svg, { dx: shift(i), view }));
    return { svg, groups };
  }

  function dodge(count) {
    return Math.min(DODGE, 28 / Math.max(count, 1));
  }

  /** On a log axis: what is not positive goes; a bound of it is the edge. */
  function cleaner(domains, view) {
    const keep = (value, isLog) => (isNumber(value) && (!isLog || value > 0) ? value : null);
    const edge = (value) => (isNumber(value) && value <= 0 ? domains.y[0] : value);
    const [low, high] = domains.y;
    return (list) => list.map((point) => ({
      ...point,
      isInside: point.y >= low && point.y <= high, // null of a dot is not drawn at all
      x: keep(point.x, view.log.x),
      y: keep(point.y, view.log.y),
      raw: keep(point.raw, view.log.y),
      low: view.log.y ? edge(point.low) : point.low,
      high: keep(point.high, view.log.y),
    }));
  }

  /** Marks of a series: what lies under all lines (bands, seeds), and what over. */
  function drawSeries(series, data, { few, dx, view, clean }) {
    const key = series.key;
    const stroke = colour(key);
    const at = { x: "x", y: "y", dx, clip: true };
    const line = { ...at, stroke, strokeDasharray: dash(key) || null, strokeWidth: 2 };
    const bounds = { x: "x", y1: "low", y2: "high", dx, clip: true };
    const hasBand = !view.smoothing && data.some((p) => p.low !== null && p.high !== null);
    const bars = few || !series.joined;
    const inside = data.filter((p) => p.isInside);
    const rings = inside.filter((p) => series.marked.includes(p.i));
    const dots = { ...at, clip: false, fill: stroke, symbol: symbol(key), r: 3.5 };
    const ring = { ...at, clip: false, stroke: "var(--ink)", r: 8, strokeWidth: 1.75 };
    return {
      under: [
        hasBand && !bars
          ? Plot.areaY(data, keyed(key, { ...bounds, fill: stroke, fillOpacity: 0.16 }, "band"))
          : null,
        view.smoothing
          ? Plot.lineY(data, keyed(key, { ...line, y: "raw", strokeOpacity: 0.25, strokeWidth: 1 }, "raw"))
          : null,
        view.seeds ? seedLines(series, view, { dx, stroke, clean }) : null,
      ],
      over: [
        hasBand && bars
          ? Plot.ruleX(data, keyed(key, { ...bounds, stroke, strokeWidth: 1.5 }, "band")) : null,
        series.joined ? Plot.lineY(data, keyed(key, line)) : null,
        bars ? Plot.dot(inside, keyed(key, dots)) : null,
        rings.length ? Plot.dot(rings, keyed(key, ring, "ring")) : null,
      ],
    };
  }

  function seedLines(series, view, { dx, stroke, clean }) {
    const data = (series.values ?? []).flatMap((values, s) => {
      const y = smooth(values, view.smoothing);
      const line = series.x.map((x, i) => ({ x, y: y[i], low: null, high: null }));
      return clean(line).map((point) => ({ ...point, seed: series.seeds[s] ?? s }));
    });
    return Plot.lineY(data, keyed(series.key, {
      x: "x", y: "y", z: "seed", dx, clip: true,
      stroke, strokeOpacity: 0.5, strokeWidth: 0.8,
    }, "seed"));
  }

  /** What a pointer or a key can read: the estimates, and the seeds if they are shown. */
  function readings(chart, series, svg, { dx, view }) {
    const place = placer(svg, dx, view);
    const estimates = points(series, view).map((p) => place(p.x, p.y, {
      key: series.key, title: series.label,
      lines: [
        `${chart.x.label} ${nameOf(chart.x, p.x)}`,
        ...(view.smoothing ? [`smoothed to ${number(p.y)}`] : []),
        `${chart.y.label} ${number(p.raw)} ${interval(p.low, p.high)}`.trim(),
        ...(series.marked.includes(p.i) ? ["with a ring"] : []),
      ],
    }));
    const seeds = view.seeds ? series.values ?? [] : [];
    const each = seeds.map((values, s) => {
      const y = smooth(values, view.smoothing);
      const seed = series.seeds[s] ?? s;
      return series.x.map((x, i) => place(x, y[i], {
        key: series.key, title: series.label, seed,
        lines: [`seed ${seed}`, `${chart.x.label} ${nameOf(chart.x, x)}`,
          `${chart.y.label} ${number(y[i])}`],
      }));
    });
    return [estimates, ...each].map((list) => list.filter(Boolean));
  }

  /** Gives a reading its place in pixels; null where it is not drawn. */
  function placer(svg, dx, view) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const isDrawn = (value, isLog) => isNumber(value) && (!isLog || value > 0);
    return (xValue, yValue, reading) =>
      isDrawn(xValue, view.log.x) && isDrawn(yValue, view.log.y)
        ? { ...reading, x: x.apply(xValue) + dx, y: y.apply(yValue) } : null;
  }

  function nameOf(axis, value) {
    return axis.names.length ? axis.names[value] : number(value, 6);
  }

  function table(chart) {
    const header = ["", chart.x.label, chart.y.label, "interval", "seeds"];
    const rows = chart.panels.flatMap((panel) =>
      panel.marks.filter((s) => isVisible(s.key)).flatMap((series) =>
        series.x.map((x, i) => [
          [panel.title, series.label].filter(Boolean).join(": "),
          nameOf(chart.x, x),
          number(series.y[i]),
          interval(series.low?.[i], series.high?.[i]),
          (series.values ?? []).map((values) => number(values[i])).join(" "),
        ])));
    return { header, rows };
  }

  normjax.lines = { draw, table, placer, nameOf, dodge };
})();
