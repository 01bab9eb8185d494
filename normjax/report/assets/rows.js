/* Charts of kind `rows`: an interval and the dots of its seeds in each row, along x. */
(() => {
  "use strict";
  const { SIZE, FONT, number, interval, isNumber, textWidth, wrap } = normjax.base;
  const { isVisible, colour, symbol } = normjax.strokes;
  const { LINE, TITLE, domain, ticks, tickText, fitting, scale, keyed } = normjax.axes;

  const GAP = 12; // pixels between a label, the plot and the text
  const VERDICTS = { holds: "✓", fails: "✗", undecided: "?" };
  const VERDICT_COLOURS = { holds: "var(--yes)", fails: "var(--no)", undecided: "var(--soft)" };

  function rowsOf(panel) {
    return panel.marks.filter((row) => isVisible(row.key));
  }

  /** The text at the right of a row, with the symbol of its verdict. */
  function ending(row) {
    return [VERDICTS[row.kind], row.text].filter(Boolean).join(" ");
  }

  function draw(chart, view) {
    const all = chart.panels.flatMap(rowsOf);
    const numbers = all.flatMap((r) => [r.estimate, r.low, r.high, ...(r.values ?? [])]);
    const bounds = domain(chart.x, numbers, view.log.x);
    const lay = layout(all, view.width);
    return chart.panels.map((panel) =>
      bounds && rowsOf(panel).length ? drawPanel(chart, panel, bounds, lay, view) : null);
  }

  /**
   * How the rows of a chart are laid out: labels at the left and texts at the right,
   * or, where that leaves less than half of the width to the dots, both above the dots.
   */
  function layout(rows, width) {
    const label = d3.max(rows, (row) => textWidth(row.label)) ?? 0;
    const text = d3.max(rows, (row) => textWidth(ending(row))) ?? 0;
    const left = label + GAP;
    const right = text ? text + GAP : 14;
    const above = left + right > Math.max(0.55 * width, width - 320) || width < 480;
    return { width, above, left: above ? 8 : left, right: above ? 10 : right };
  }

  /** Places of the rows: {row, lines, top, middle} in pixels below the first one. */
  function places(rows, { width, above }) {
    let top = 0;
    return rows.map((row) => {
      const end = textWidth(ending(row));
      const beside = textWidth(row.label) + GAP + end <= width - 4;
      const room = beside || !end ? width - 4 : width - 4 - end - GAP;
      const lines = above ? wrap(row.label, Math.max(room, 0.5 * width)) : [row.label];
      const dots = row.values?.length ? 10 : 0;
      const head = above ? lines.length * LINE + 10 : 10;
      const place = { row, lines, top, middle: top + head };
      top = place.middle + dots + (above ? 14 : 12);
      return { ...place, bottom: top };
    });
  }

  function drawPanel(chart, panel, bounds, lay, view) {
    const list = places(rowsOf(panel), lay);
    const titles = panel.title ? wrap(panel.title, lay.width - 4, TITLE) : [];
    const marginTop = titles.length * LINE + 8;
    const length = list.at(-1).bottom;
    const marginBottom = 2.7 * LINE;
    const options = {
      width: lay.width, height: marginTop + length + marginBottom,
      marginTop, marginBottom, marginLeft: lay.left, marginRight: lay.right,
      style: { fontSize: `${SIZE}px`, fontFamily: FONT, overflow: "visible" },
      x: scale(bounds, view.log.x),
      y: { type: "linear", domain: [0, length], range: [marginTop, marginTop + length], axis: null },
    };
    const inner = lay.width - lay.left - lay.right;
    const xTicks = fitting(ticks(chart.x, bounds, view.log.x, 6), chart.x, inner);
    const svg = Plot.plot({
      ...options,
      marks: [
        ...ground(chart, list, xTicks, bounds),
        ...headings(titles, lay),
        ...texts(list, lay),
        ...list.flatMap((place) => rowMarks(place, view)),
      ],
    });
    return { svg, groups: list.map((x) => readings(chart, x, svg, view)), join: joiner(svg, list, view) };
  }

  function ground(chart, list, xTicks, [low, high]) {
    const reference = chart.x.reference;
    const hasReference = isNumber(reference) && reference >= low && reference <= high;
    return [
      Plot.ruleY(list.slice(0, -1), { y: "bottom", stroke: "var(--line)", strokeOpacity: 0.6 }),
      Plot.gridX(xTicks, { stroke: "var(--line)", strokeOpacity: 0.8 }),
      Plot.axisX(xTicks, {
        tickSize: 0, label: null, fill: "var(--soft)",
        text: (value) => tickText(value, chart.x),
      }),
      Plot.text([chart.x.label], {
        frameAnchor: "bottom-right", dy: 2.35 * LINE, lineAnchor: "bottom", fill: "var(--soft)",
      }),
      hasReference
        ? Plot.ruleX([reference], { stroke: "var(--ink)", strokeOpacity: 0.7, className: "reference" })
        : null,
    ];
  }

  function headings(titles, { left }) {
    return titles.map((line, i) => Plot.text([line], {
      frameAnchor: "top-left", dx: 1 - left, dy: (i - titles.length) * LINE - 6,
      lineAnchor: "top", fontWeight: 600, fill: "var(--ink)",
    }));
  }

  /** The labels at the left or above, the texts at the right or above. */
  function texts(list, { left, right, above }) {
    const halo = { stroke: "var(--page)", strokeWidth: 4 };
    const label = { ...halo, text: (x) => x.lines.join("\n"), fill: "var(--ink)", textAnchor: "start" };
    const end = { ...halo, text: (x) => ending(x.row), textAnchor: "end" };
    const line = above ? { y: (x) => x.top + 4, lineAnchor: "top" } : { y: "middle" };
    return [
      Plot.text(list, { ...label, ...line, frameAnchor: "left", dx: -left + 1, lineHeight: LINE / SIZE }),
      ...d3.groups(list, (x) => x.row.kind).map(([kind, some]) => Plot.text(some, {
        ...end, ...line, frameAnchor: "right", dx: right - 1,
        fill: VERDICT_COLOURS[kind] ?? "var(--ink)", fontVariant: "tabular-nums",
        className: kind || null,
      })),
    ];
  }

  function rowMarks({ row, middle }, view) {
    const { key } = row;
    const ok = (value) => isNumber(value) && (!view.log.x || value > 0);
    const stroke = colour(key);
    const y = middle;
    const dots = (row.values ?? []).map((x, i) => ({ x, seed: row.seeds[i] ?? i })).filter((p) => ok(p.x));
    const bounds = ok(row.low) && ok(row.high) ? [row] : [];
    const estimate = ok(row.estimate) ? [row] : [];
    return [
      Plot.ruleY(bounds, keyed(key, { y: () => y, x1: "low", x2: "high", stroke, strokeWidth: 2.5 }, "band")),
      Plot.dot(dots, keyed(key, {
        x: "x", y: () => y + 10, r: 2.6, stroke, fill: stroke, fillOpacity: 0.3, strokeWidth: 1,
      }, "seed")),
      Plot.dot(estimate, keyed(key, {
        x: "estimate", y: () => y, r: 5, symbol: symbol(key), fill: stroke,
        stroke: "var(--page)", strokeWidth: 1,
      })),
    ];
  }

  function readings(chart, { row, middle }, svg, view) {
    const place = (value, y, rest) => {
      const isDrawn = isNumber(value) && (!view.log.x || value > 0);
      const base = { key: row.key, title: row.label, y: svg.scale("y").apply(y) };
      return isDrawn ? { ...base, ...rest, x: svg.scale("x").apply(value) } : null;
    };
    const verdict = row.kind ? [`verdict: ${row.kind}`] : [];
    const estimate = place(row.estimate, middle, {
      lines: [`${chart.x.label} ${number(row.estimate)} ${interval(row.low, row.high)}`.trim(), ...verdict],
    });
    const seeds = (row.values ?? []).map((value, i) => {
      const seed = row.seeds[i] ?? i;
      return place(value, middle + 10, {
        seed, lines: [`seed ${seed}`, `${chart.x.label} ${number(value)}`],
      });
    });
    const all = [estimate, ...d3.sort(seeds.filter(Boolean), (spot) => spot.x)];
    return all.filter(Boolean);
  }

  /** A function that draws the line of one seed through every row, and its dots. */
  function joiner(svg, list, view) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    return (layer, seed) => {
      const found = list.flatMap(({ row, middle }) => {
        const value = row.values?.[row.seeds.indexOf(seed)];
        const isDrawn = isNumber(value) && (!view.log.x || value > 0);
        return isDrawn ? [{ key: row.key, at: [x.apply(value), y.apply(middle + 10)] }] : [];
      });
      layer.append("path").attr("class", "join").attr("d", d3.line()(found.map((p) => p.at)))
        .attr("fill", "none").attr("stroke", "var(--ink)").attr("stroke-width", 1.5);
      layer.selectAll("circle.joined").data(found).join("circle").attr("class", "joined")
        .attr("cx", (p) => p.at[0]).attr("cy", (p) => p.at[1]).attr("r", 4.5)
        .attr("fill", (p) => colour(p.key)).attr("stroke", "var(--ink)");
    };
  }

  function table(chart) {
    const header = ["", chart.x.label, "interval", "verdict", "seeds"];
    const rows = chart.panels.flatMap((panel) => rowsOf(panel).map((row) => [
      [panel.title, row.label].filter(Boolean).join(": "),
      number(row.estimate), interval(row.low, row.high), row.kind,
      (row.values ?? []).map((value, i) => `${row.seeds[i] ?? i}: ${number(value)}`).join("; "),
    ]));
    return { header, rows };
  }

  normjax.rows = { draw, table };
})();
