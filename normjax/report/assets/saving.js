/* A chart as an SVG file: as it is shown, with its title, legend and real colours. */
(() => {
  "use strict";
  const { FONT, textWidth, wrap } = normjax.base;
  const { colour, dash, shape, label } = normjax.strokes;

  const EDGE = 12; // pixels around the chart
  const TITLE = { size: 15, weight: 600 };
  const pixel = document.createElement("canvas");
  pixel.width = pixel.height = 1;

  /** A CSS colour, of whatever notation, as `rgb()` or `rgba()`, which every program reads. */
  function plain(css) {
    if (css === "none") return css;
    const context = pixel.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = css;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return a === 255 ? `rgb(${r},${g},${b})` : `rgba(${r},${g},${b},${(a / 255).toFixed(3)})`;
  }

  /** Replaces variables and `currentColor` by the colours that the element has now. */
  function settle(svg) {
    for (const element of [svg, ...svg.querySelectorAll("[fill], [stroke]")]) {
      const style = getComputedStyle(element);
      for (const name of ["fill", "stroke"]) {
        const value = element.getAttribute(name);
        if (value && /var\(|color|currentColor/.test(value)) element.setAttribute(name, plain(style[name]));
      }
    }
  }

  /** A copy of a drawn panel at its place in the figure. */
  function copyOf(svg, box, top) {
    const copy = svg.cloneNode(true);
    const at = svg.getBoundingClientRect();
    for (const cursor of copy.querySelectorAll(".cursor, style")) cursor.remove();
    copy.removeAttribute("class");
    copy.setAttribute("x", at.left - box.left + EDGE);
    copy.setAttribute("y", at.top - box.top + top);
    copy.setAttribute("width", at.width);
    copy.setAttribute("height", at.height);
    copy.setAttribute("overflow", "visible");
    return copy;
  }

  /** The keys of the strokes, in lines that fit; returns the height they take. */
  function drawLegend(svg, keys, width, top) {
    const layer = svg.append("g");
    let [x, y] = [EDGE, top];
    for (const key of keys) {
      const length = 38 + textWidth(label(key)) + 16;
      if (x > EDGE && x + length > width) [x, y] = [EDGE, y + 18];
      const item = layer.append("g").attr("transform", `translate(${x},${y})`);
      item.append("line").attr("x2", 30).attr("stroke", colour(key)).attr("stroke-width", 2.5)
        .attr("stroke-dasharray", dash(key) || null);
      item.append("path").attr("transform", "translate(15,0)").attr("fill", colour(key))
        .attr("d", d3.symbol(shape(key), 40)());
      item.append("text").attr("x", 36).attr("y", 4).attr("fill", "var(--ink)").text(label(key));
      x += length;
    }
    return keys.length ? y + 18 - top : 0;
  }

  /** The whole chart as the text of an SVG file. */
  function picture(chart, plot, panels) {
    const box = plot.getBoundingClientRect();
    const [inner, tall] = [plot.scrollWidth, plot.scrollHeight];
    const width = inner + 2 * EDGE;
    const svg = d3.select(plot).append("svg").attr("xmlns", "http://www.w3.org/2000/svg");
    svg.attr("font-family", FONT).attr("font-size", 12);
    svg.append("title").text(chart.title);
    svg.append("desc").text(chart.note);
    const ground = svg.append("rect").attr("fill", "var(--page)").attr("width", width);
    const lines = wrap(chart.title, inner, TITLE);
    lines.forEach((line, i) => svg.append("text").attr("x", EDGE).attr("y", EDGE + 14 + i * 19)
      .attr("font-size", TITLE.size).attr("font-weight", TITLE.weight)
      .attr("fill", "var(--ink)").text(line));
    let top = EDGE + lines.length * 19 + 14;
    const drawn = panels.flatMap((panel) => [...panel.svg.querySelectorAll("[data-key]")]);
    const keys = [...new Set(drawn.map((mark) => mark.dataset.key))].filter(Boolean);
    top += drawLegend(svg, keys, width, top);
    const left = { left: box.left - plot.scrollLeft, top: box.top };
    for (const panel of panels) svg.append(() => copyOf(panel.svg, left, top));
    const height = top + tall + EDGE;
    svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`);
    ground.attr("height", height);
    settle(svg.node());
    const text = new XMLSerializer().serializeToString(svg.remove().node());
    return text;
  }

  /** Gives the picture to the reader as the file NAME.svg. */
  function save(chart, plot, panels) {
    const blob = new Blob([picture(chart, plot, panels)], { type: "image/svg+xml" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${chart.name}.svg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  normjax.saving = { picture, save };
})();
