/* Charts of kind `tiles`: a heat map or a matrix, with the number in each tile. */
(() => {
  "use strict";
  const { SIZE, FONT, number, isNumber, textWidth, wrap, extent } = normjax.base;
  const { LINE, TITLE } = normjax.axes;

  const LEAST = 30; // width of a tile in pixels; a wider chart scrolls in its box
  const MOST = 96;
  const RIGHT = 12; // margin
  const LONGEST = 240; // pixels of a turned name
  const STEPS = 24; // of the ramp that explains the colours

  /** Value -> CSS colour, mixed from variables so that dark and light need no redraw. */
  function shade(chart) {
    const values = chart.panels.flatMap((panel) => panel.marks.map((tile) => tile.value));
    const [low, high] = extent(values) ?? [0, 1];
    const isTwoWay = isNumber(chart.centre);
    const reach = isTwoWay ? Math.max(high - chart.centre, chart.centre - low) || 1 : high - low || 1;
    const share = (value) => (isTwoWay ? (value - chart.centre) / reach : (value - low) / reach);
    const colour = (value) => {
      if (!isNumber(value)) return "none";
      const t = share(value);
      const end = t < 0 ? "var(--tile-low)" : "var(--tile-high)";
      return `color-mix(in oklab, ${end} ${Math.round(Math.abs(t) * 1000) / 10}%, var(--tile-middle))`;
    };
    const ends = isTwoWay ? [chart.centre - reach, chart.centre, chart.centre + reach] : [low, high];
    return { colour, ends };
  }

  function draw(chart, view) {
    const { colour, ends } = shade(chart);
    const lay = layout(chart, view.width);
    const panels = chart.panels.map((panel) => drawPanel(chart, panel, colour, lay));
    return [...panels, { svg: ramp(colour, ends), groups: [], isRamp: true }];
  }

  /** Widths of labels and tiles, and whether the labels of x are turned. */
  function layout(chart, width) {
    const widest = d3.max(chart.y.names, (name) => textWidth(name)) ?? 0;
    const left = Math.min(widest + 10, Math.max(0.35 * width, 90));
    const columns = chart.x.names.length;
    const texts = chart.panels.flatMap((panel) => panel.marks.map((tile) => textWidth(tile.text)));
    const wanted = (d3.max(texts) ?? 0) + 8;
    const room = (width - left - RIGHT) / columns;
    const step = Math.min(MOST, Math.max(LEAST, wanted, room));
    const longest = d3.max(chart.x.names, (name) => textWidth(name)) ?? 0;
    const isTurned = longest > step - 6;
    const bottom = isTurned ? Math.min(longest, LONGEST) * 0.72 + 34 : 2.8 * LINE;
    return { left, step, isTurned, bottom, height: Math.min(34, Math.max(24, step)) };
  }

  function drawPanel(chart, panel, colour, lay) {
    const width = lay.left + lay.step * chart.x.names.length + RIGHT;
    const labels = chart.y.names.map((name) => wrap(name, lay.left - 10));
    const lines = d3.max(labels, (label) => label.length) ?? 1;
    const row = Math.max(lay.height, lines * LINE + 6);
    const titles = panel.title ? wrap(panel.title, width - 4, TITLE) : [];
    const marginTop = titles.length * LINE + LINE + 8;
    const svg = Plot.plot({
      width, height: marginTop + row * chart.y.names.length + lay.bottom,
      marginTop, marginBottom: lay.bottom, marginLeft: lay.left, marginRight: RIGHT,
      style: { fontSize: `${SIZE}px`, fontFamily: FONT, overflow: "visible" },
      x: { type: "band", domain: chart.x.names, padding: 0.04, axis: null },
      y: { type: "band", domain: chart.y.names, padding: 0.06, axis: null },
      marks: [...axes(chart, lay), ...headings(chart, titles, lay), ...cells(panel, colour)],
    });
    return { svg, groups: readings(chart, panel, svg), box: [lay.step, row] };
  }

  function axes(chart, { left, isTurned }) {
    const text = { tickSize: 0, label: null, fill: "var(--soft)" };
    return [
      Plot.axisY({
        ...text, tickPadding: 6, lineWidth: (left - 8) / SIZE,
        tickFormat: (name) => wrap(name, left - 10).join("\n"),
      }),
      Plot.axisX({
        ...text, tickRotate: isTurned ? -45 : 0, tickPadding: 6,
        tickFormat: (name) => (isTurned ? shortened(name) : name),
      }),
    ];
  }

  /** A name that is not too long; the whole one is read in the tiles. */
  function shortened(name) {
    let text = name;
    while (textWidth(text) > LONGEST) text = `${text.slice(0, -2)}…`;
    return text;
  }

  function headings(chart, titles, { left }) {
    const at = { frameAnchor: "top-left", dx: 1 - left, lineAnchor: "bottom" };
    const lines = titles.map((line, i) => Plot.text([line], {
      ...at, dy: (i - titles.length) * LINE - 6, fontWeight: 600, fill: "var(--ink)",
    }));
    return [
      ...lines,
      Plot.text([chart.y.label], { ...at, dy: -6, fill: "var(--soft)" }),
      Plot.text([chart.x.label], {
        frameAnchor: "bottom-right", dy: 0, lineAnchor: "bottom", fill: "var(--soft)",
        render: atBottom,
      }),
    ];
  }

  /** Puts the label of x at the bottom edge, whatever the height of the names. */
  function atBottom(index, scales, values, dimensions, context, next) {
    const group = next(index, scales, values, dimensions, context);
    d3.select(group).selectAll("text")
      .attr("transform", `translate(${dimensions.width - 2},${dimensions.height - 3})`);
    return group;
  }

  function cells(panel, colour) {
    const tiles = panel.marks;
    const at = { x: "x", y: "y" };
    const isEmpty = (tile) => !isNumber(tile.value);
    return [
      Plot.cell(tiles.filter((t) => !isEmpty(t)), {
        ...at, fill: (t) => colour(t.value), className: "tile mark", rx: 2,
      }),
      Plot.cell(tiles.filter(isEmpty), {
        ...at, fill: "none", stroke: "var(--line)", className: "tile empty mark", rx: 2,
      }),
      Plot.cell(tiles.filter((t) => t.marked), {
        ...at, fill: "none", stroke: "var(--ink)", strokeWidth: 1.5, className: "ring", rx: 2,
      }),
      Plot.text(tiles, { ...at, text: "text", fill: "var(--ink)", fontVariant: "tabular-nums" }),
    ];
  }

  function readings(chart, panel, svg) {
    const [x, y] = [svg.scale("x"), svg.scale("y")];
    const rows = d3.groups(panel.marks, (tile) => tile.y);
    return rows.map(([, tiles]) => tiles.map((tile) => ({
      key: "", title: tile.title || `${tile.y}, ${tile.x}`,
      lines: [tile.title ? "" : tile.text || number(tile.value), tile.marked ? "framed" : ""].filter(Boolean),
      x: x.apply(tile.x) + x.bandwidth / 2, y: y.apply(tile.y) + y.bandwidth / 2,
    })));
  }

  /** What the colours stand for: a strip from the least to the greatest value. */
  function ramp(colour, ends) {
    const [first, last] = [ends[0], ends.at(-1)];
    const width = 220;
    const svg = d3.create("svg").attr("class", "ramp").attr("width", width + 40).attr("height", 34)
      .attr("viewBox", `-20 0 ${width + 40} 34`).attr("font-size", SIZE).attr("font-family", FONT);
    const at = d3.scaleLinear([first, last], [0, width]);
    svg.selectAll("rect").data(d3.range(STEPS)).join("rect")
      .attr("x", (i) => (i * width) / STEPS).attr("width", width / STEPS + 0.5).attr("height", 10)
      .attr("fill", (i) => colour(first + ((i + 0.5) * (last - first)) / STEPS));
    svg.selectAll("text").data(ends).join("text").attr("x", at).attr("y", 26)
      .attr("text-anchor", "middle").attr("fill", "var(--soft)").text((x) => number(x, 3));
    return svg.node();
  }

  function table(chart) {
    const header = [chart.y.label, chart.x.label, "value", "what it says"];
    const rows = chart.panels.flatMap((panel) => panel.marks.map((tile) => [
      [panel.title, tile.y].filter(Boolean).join(": "), tile.x, number(tile.value), tile.title,
    ]));
    return { header, rows };
  }

  normjax.tiles = { draw, table };
})();
