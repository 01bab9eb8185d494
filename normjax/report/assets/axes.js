/* Axes: their domains and ticks, and the frame that every small plot has. */
(() => {
  "use strict";
  const { FONT, SIZE, raised, isNumber, textWidth, wrap, extent } = normjax.base;

  const LINE = 15; // height of a line of letters
  const TITLE = { weight: 600, size: SIZE };

  /**
   * The domain of an axis over numbers.
   * On a logarithmic axis only positive numbers count; null if nothing is left.
   */
  function domain(axis, values, isLog) {
    const usable = isLog ? values.filter((x) => x > 0) : values;
    const limits = axis.limits?.every((x) => isNumber(x) && (!isLog || x > 0));
    const reference = isLog && !(axis.reference > 0) ? null : axis.reference;
    const found = limits ? axis.limits : extent([...usable, reference]);
    if (!found) return null;
    const [low, high] = found;
    if (limits) return [low, high];
    if (low === high) return isLog ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    if (isLog) {
      const room = (high / low) ** 0.03;
      return [low / room, high * room];
    }
    const room = (high - low) * 0.03;
    return [low - room, high + room];
  }

  /** Ticks of an axis: those it names, or about `count` round numbers; whole of a count. */
  function ticks(axis, [low, high], isLog, count) {
    const given = axis.names.length ? axis.names.map((_, i) => i) : axis.ticks;
    if (given.length) return given.filter((x) => x >= low && x <= high);
    const found = roundNumbers([low, high], isLog, count);
    return axis.whole ? found.filter(Number.isInteger) : found;
  }

  function roundNumbers([low, high], isLog, count) {
    if (!isLog) return d3.scaleLinear([low, high], [0, 1]).ticks(count);
    const decades = d3.range(Math.ceil(Math.log10(low)), Math.floor(Math.log10(high)) + 1);
    const every = Math.max(1, Math.ceil(decades.length / count));
    if (decades.length >= 3) {
      return decades.filter((x) => x % every === 0).map((x) => Number(`1e${x}`));
    }
    const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1);
    for (const steps of [[1, 2, 5], [1, 2, 3, 5, 7]]) {
      const all = powers.flatMap((x) => steps.map((step) => Number(`${step}e${x}`)));
      const inside = all.filter((x) => x >= low && x <= high);
      if (inside.length >= 3) return inside;
    }
    return d3.scaleLinear([low, high], [0, 1]).ticks(4);
  }

  /** The text of a tick: a power of ten where it is shorter. */
  function tickText(value, axis) {
    if (axis.names.length) return axis.names[value] ?? "";
    const size = Math.abs(value);
    if (value === 0 || (size >= 1e-3 && size < 1e5)) return d3.format(".6~r")(value);
    const [mantissa, exponent] = d3.format(".3~e")(value).split("e");
    const power = `10${raised(Number(exponent.replace("−", "-")))}`;
    return mantissa === "1" ? power : `${mantissa}·${power}`;
  }

  /** The ticks that fit beside each other in `width` pixels; every other one goes. */
  function fitting(values, axis, width) {
    const widest = d3.max(values, (x) => textWidth(tickText(x, axis))) ?? 0;
    const room = Math.max(1, Math.floor(width / (widest + 10)));
    const every = Math.ceil(values.length / room);
    return values.filter((_, i) => i % every === 0);
  }

  /** Scale options of Plot for an axis. */
  function scale(bounds, isLog) {
    return { type: isLog ? "log" : "linear", domain: bounds, axis: null };
  }

  /**
   * The frame of a panel of numbers: margins, axes, grid, titles and reference lines.
   * `view` has width, height and for x and y {axis, domain, isLog}.
   */
  function frame(title, { width, height, x, y }) {
    const titles = title ? wrap(title, width - 4, TITLE) : [];
    const yTicks = ticks(y.axis, y.domain, y.isLog, 5);
    const texts = yTicks.map((value) => textWidth(tickText(value, y.axis)));
    const marginLeft = Math.ceil(d3.max(texts) ?? 0) + 12;
    const marginTop = titles.length * LINE + LINE + 14;
    const inner = width - marginLeft - 14;
    const xTicks = fitting(ticks(x.axis, x.domain, x.isLog, 6), x.axis, inner);
    return {
      options: {
        width, height: height + titles.length * LINE,
        marginLeft, marginTop, marginRight: 14, marginBottom: 2.6 * LINE,
        style: { fontSize: `${SIZE}px`, fontFamily: FONT, overflow: "visible" },
        x: scale(x.domain, x.isLog), y: scale(y.domain, y.isLog),
      },
      marks: [
        ...grid(xTicks, yTicks, x.axis, y.axis),
        ...headings(titles, x.axis, y.axis, marginTop, marginLeft),
        ...references(x, y),
      ],
    };
  }

  function grid(xTicks, yTicks, xAxis, yAxis) {
    const line = { stroke: "var(--line)", strokeOpacity: 1 };
    const text = { fill: "var(--soft)", tickSize: 0, label: null };
    return [
      Plot.gridY(yTicks, line),
      Plot.gridX(xTicks, { ...line, strokeOpacity: 0.6 }),
      Plot.axisY(yTicks, { ...text, text: (value) => tickText(value, yAxis) }),
      Plot.axisX(xTicks, { ...text, text: (value) => tickText(value, xAxis) }),
    ];
  }

  /** The title of a panel above it, the label of y under that, of x at the bottom. */
  function headings(titles, xAxis, yAxis, marginTop, marginLeft) {
    const at = { frameAnchor: "top-left", dx: -marginLeft + 1, lineAnchor: "bottom" };
    const above = (lines) => -marginTop + lines * LINE;
    const lines = titles.map((line, i) =>
      Plot.text([line], { ...at, dy: above(i + 1), fontWeight: 600, fill: "var(--ink)" }));
    const yLabel = Plot.text([yAxis.label], {
      ...at, dy: above(titles.length + 1), fill: "var(--soft)",
    });
    const xLabel = Plot.text([xAxis.label], {
      frameAnchor: "bottom-right", dy: 2.35 * LINE, lineAnchor: "bottom",
      fill: "var(--soft)", dx: 12,
    });
    return [...lines, yLabel, xLabel];
  }

  function references(x, y) {
    const style = { stroke: "var(--ink)", strokeOpacity: 0.7, className: "reference" };
    const inside = ({ axis, domain: [low, high] }) =>
      isNumber(axis.reference) && axis.reference >= low && axis.reference <= high;
    return [
      inside(x) ? Plot.ruleX([x.axis.reference], style) : null,
      inside(y) ? Plot.ruleY([y.axis.reference], style) : null,
    ];
  }

  /** Options of a mark whose group carries its key, so that it can be found. */
  function keyed(key, options, kind = "mark") {
    return {
      ...options,
      render(index, scales, values, dimensions, context, next) {
        const group = next(index, scales, values, dimensions, context);
        group.setAttribute("data-key", key);
        group.classList.add(kind);
        return group;
      },
    };
  }

  normjax.axes = { LINE, TITLE, domain, ticks, tickText, fitting, scale, frame, keyed };
})();
