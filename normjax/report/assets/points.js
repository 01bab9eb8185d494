/* Charts of kind `points`: estimates with intervals in both directions, and labels. */
(() => {
  "use strict";
  const { number, interval, isNumber, textWidth } = normjax.base;
  const { isVisible, colour, symbol } = normjax.strokes;
  const { LINE, domain, frame, keyed } = normjax.axes;

  function shown(panel) {
    return panel.marks.filter((p) => isVisible(p.key) && isNumber(p.x) && isNumber(p.y));
  }

  function draw(chart, view) {
    const lists = chart.panels.map(shown);
    const all = lists.flat();
    const heights = (list) => list.flatMap((p) => [p.y, p.y_low, p.y_high]);
    const x = domain(chart.x, all.flatMap((p) => [p.x, p.x_low, p.x_high]), view.log.x);
    const together = domain(chart.y, heights(all), view.log.y);
    return chart.panels.map((panel, i) => {
      const y = chart.same_y ? together : domain(chart.y, heights(lists[i]), view.log.y);
      return x && y ? drawPanel(chart, panel, lists[i], { x, y }, view) : null;
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
    label(svg, drawn, options);
    return { svg, groups: [readings(chart, drawn, svg)] };
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

  const overlap = (a, b) => a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;

  /** Writes labels where nothing lies; one that finds no place is left out. */
  function label(svg, list, { width, height, marginLeft, marginTop, marginBottom }) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const spots = list.map((p) => ({ label: p.label, key: p.key, x: x.apply(p.x), y: y.apply(p.y) }));
    const taken = spots.map((p) => ({ x0: p.x - 6, x1: p.x + 6, y0: p.y - 6, y1: p.y + 6 }));
    const isInside = (box) =>
      box.x0 >= marginLeft && box.x1 <= width && box.y0 >= marginTop - 2 && box.y1 <= height - marginBottom;
    const layer = d3.select(svg).append("g").attr("class", "labels")
      .attr("fill", "var(--ink)").attr("text-anchor", "start");
    for (const spot of spots) {
      const box = candidates(spot).find((c) => isInside(c) && !taken.some((t) => overlap(t, c)));
      if (!box) continue;
      taken.push(box);
      layer.append("text").text(spot.label).attr("data-key", spot.key)
        .attr("x", box.x0).attr("y", box.y1 - 4);
    }
  }

  /** Boxes in which a label might stand: right, left, above, below, and the corners. */
  function candidates({ label: text, x, y }) {
    const w = textWidth(text);
    const places = [
      [8, -LINE - 1], [8, 1], [-w - 8, -LINE - 1], [-w - 8, 1], [8, -LINE / 2], [-w - 8, -LINE / 2],
      [-w / 2, -LINE - 8], [-w / 2, 8], [12, -LINE - 14], [12, 14], [-w - 12, -LINE - 14], [-w - 12, 14],
    ];
    return places.map(([dx, dy]) => ({ x0: x + dx, x1: x + dx + w, y0: y + dy, y1: y + dy + LINE }));
  }

  function readings(chart, list, svg) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const spots = list.map((p) => ({
      key: p.key, title: p.label, x: x.apply(p.x), y: y.apply(p.y),
      lines: [
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
