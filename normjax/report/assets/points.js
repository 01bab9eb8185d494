/* Charts of kind `points`: estimates with intervals in both directions, and labels. */
(() => {
  "use strict";
  const { number, interval, isNumber, textWidth } = normjax.base;
  const { isVisible, colour, symbol } = normjax.strokes;
  const { LINE, domain, frame, keyed } = normjax.axes;

  const MOST = 640; // pixels of a panel's height

  function shown(panel) {
    return panel.marks.filter((p) => isVisible(p.key) && isNumber(p.x) && isNumber(p.y));
  }

  function draw(chart, view) {
    const lists = chart.panels.map(shown);
    const all = lists.flat();
    const heights = (list) => list.flatMap((p) => [p.y, p.y_low, p.y_high]);
    const x = domain(chart.x, all.flatMap((p) => [p.x, p.x_low, p.x_high]), view.log.x);
    const together = domain(chart.y, heights(all), view.log.y);
    const sized = { ...view, height: tall(lists, view) };
    return chart.panels.map((panel, i) => {
      const y = chart.same_y ? together : domain(chart.y, heights(lists[i]), view.log.y);
      return x && y ? drawPanel(chart, panel, lists[i], { x, y }, sized) : null;
    });
  }

  function drawPanel(chart, panel, list, domains, view) {
    const { options, marks } = frame(panel.title, {
      width: view.width, height: view.height,
      x: { axis: chart.x, domain: domains.x, isLog: view.log.x },
      y: { axis: chart.y, domain: domains.y, isLog: view.log.y },
    });
    const drawn = list.filter((p) => (!view.log.x || p.x > 0) && (!view.log.y || p.y > 0));
    const edges = (p) => ({
      ...p,
      x_low: bound(p.x_low, domains.x, view.log.x), x_high: bound(p.x_high, domains.x, view.log.x),
      y_low: bound(p.y_low, domains.y, view.log.y), y_high: bound(p.y_high, domains.y, view.log.y),
    });
    const svg = Plot.plot({
      ...options, marks: [...marks, ...drawn.map(edges).flatMap(pointMarks)],
    });
    const unlabelled = label(svg, drawn.map(edges), options);
    return { svg, groups: [readings(chart, panel, drawn, svg)], unlabelled };
  }

  /** A bound that a log axis cannot hold is its edge. */
  function bound(value, [low], isLog) {
    return isNumber(value) && isLog && value <= 0 ? low : value;
  }

  function pointMarks(point) {
    const { key } = point;
    const stroke = colour(key);
    const has = (low, high) => (isNumber(low) && isNumber(high) ? [point] : []);
    const rule = { stroke, strokeWidth: 1.5, strokeOpacity: 0.8, clip: true };
    return [
      Plot.ruleY(has(point.x_low, point.x_high),
        keyed(key, { ...rule, y: "y", x1: "x_low", x2: "x_high" }, "band")),
      Plot.ruleX(has(point.y_low, point.y_high),
        keyed(key, { ...rule, x: "x", y1: "y_low", y2: "y_high" }, "band")),
      Plot.dot([point], keyed(key, {
        x: "x", y: "y", r: 5, symbol: symbol(key), fill: stroke, stroke: "var(--page)",
      })),
    ];
  }

  /** Writes the labels; returns those for which there is no room. */
  function label(svg, list, { width, height, marginLeft, marginTop, marginBottom }) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const at = (scale, value, other) => scale.apply(isNumber(value) ? value : other);
    const spots = list.map((p) => ({ label: p.label, key: p.key, x: x.apply(p.x), y: y.apply(p.y) }));
    const bars = list.flatMap((p, i) => [
      { x0: at(x, p.x_low, p.x), x1: at(x, p.x_high, p.x), y0: spots[i].y - 1, y1: spots[i].y + 1 },
      { x0: spots[i].x - 1, x1: spots[i].x + 1, y0: at(y, p.y_high, p.y), y1: at(y, p.y_low, p.y) },
    ]);
    const frame = { x0: marginLeft, x1: width, y0: marginTop - 2, y1: height - marginBottom };
    return normjax.labels.draw(svg, spots, bars, frame);
  }

  /** High enough for all labels: they may take a tenth of the panel. */
  function tall(lists, { width, height }) {
    const area = d3.max(lists, (list) => d3.sum(list, (p) => LINE * (textWidth(p.label) + 8)));
    return Math.min(Math.max(height, Math.round((10 * (area ?? 0)) / width)), MOST);
  }

  function readings(chart, panel, list, svg) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const spots = list.map((p) => ({
      key: p.key, title: p.label, x: x.apply(p.x), y: y.apply(p.y),
      lines: [
        ...(panel.title ? [panel.title] : []),
        `${chart.x.label} ${number(p.x)} ${interval(p.x_low, p.x_high)}`.trim(),
        `${chart.y.label} ${number(p.y)} ${interval(p.y_low, p.y_high)}`.trim(),
      ],
    }));
    return d3.sort(spots, (spot) => spot.x);
  }

  function table(chart) {
    const header = ["", chart.x.label, "interval", chart.y.label, "interval"];
    const rows = chart.panels.flatMap((panel) => shown(panel).map((p) => [
      [panel.title, p.label].filter(Boolean).join(": "),
      number(p.x), interval(p.x_low, p.x_high), number(p.y), interval(p.y_low, p.y_high),
    ]));
    return { header, rows };
  }

  normjax.points = { draw, table };
})();
