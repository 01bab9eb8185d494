/* Labels beside points: none on another, on a point or outside of the frame. */
(() => {
  "use strict";
  const { textWidth } = normjax.base;
  const { LINE } = normjax.axes;

  const POINT = 6; // half the size of a point, in pixels
  const NEAR = 14; // a label farther from its point has a line to it
  const DISTANCES = [8, 14, 22, 32, 44, 58, 74, 92, 112, 134, 160, 190]; // of a label from its point
  const ANGLES = d3.range(16).map((i) => (i * Math.PI) / 8);
  const CROSSING = 10; // pixels of distance that a line across a point is as bad as
  const STRUCK = 50; // pixels of distance that a label across an interval is as bad as
  const NEARER = 20; // pixels of distance that another point nearer to it is as bad as
  const GAP = 2; // pixels between a label and an interval, or half of those to a label

  const overlap = (a, b) => a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;

  /** Boxes in which a label might stand, with how bad each is: far, or on an interval. */
  function candidates({ label, x, y }, bars) {
    const width = textWidth(label) + 2;
    return DISTANCES.flatMap((distance) => ANGLES.map((angle) => {
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const x0 = x + distance * cos - (width * (1 - cos)) / 2;
      const y0 = y + distance * sin - (LINE * (1 - sin)) / 2;
      const box = { x0, x1: x0 + width, y0, y1: y0 + LINE };
      const wide = { x0: x0 - GAP, x1: box.x1 + GAP, y0, y1: box.y1 };
      return { ...box, cost: distance + STRUCK * d3.sum(bars, (bar) => overlap(bar, wide)) };
    }));
  }

  /** Where the line from a point to its label ends: the nearest place of the box. */
  function end({ x, y }, box) {
    const within = (value, low, high) => Math.min(Math.max(value, low), high);
    return [within(x, box.x0, box.x1), within(y, box.y0, box.y1)];
  }

  /** How many other points are nearer to a box than its own, if no line goes to that. */
  function nearer(box, own, spots) {
    const distance = (spot) => Math.hypot(end(spot, box)[0] - spot.x, end(spot, box)[1] - spot.y);
    return distance(own) < NEAR ? d3.sum(spots, (spot) => distance(spot) < distance(own)) : 0;
  }

  /** Where that line begins: outside of the point. */
  function start(spot, box) {
    const [x, y] = end(spot, box);
    const share = (POINT + 1) / Math.hypot(x - spot.x, y - spot.y);
    return [spot.x + share * (x - spot.x), spot.y + share * (y - spot.y)];
  }

  /** Pieces of the line from a point to its label, as boxes that nothing else may touch. */
  function leader(spot, box) {
    const [x, y] = end(spot, box);
    const length = Math.hypot(x - spot.x, y - spot.y);
    if (length < NEAR) return [];
    return d3.range(POINT + 3, length - 1, 3).map((at) => {
      const [u, v] = [spot.x + ((x - spot.x) * at) / length, spot.y + ((y - spot.y) * at) / length];
      return { x0: u - 1, x1: u + 1, y0: v - 1, y1: v + 1 };
    });
  }

  /**
   * Places of labels: [{spot, box, line}]; `box` is null where no room is left.
   * `spots` are {label, x, y}, `bars` are boxes that are covered only if there is need.
   * A line to a label crosses no other label, and points only if there is need.
   */
  function places(spots, bars, frame) {
    const points = spots.map(({ x, y }) => (
      { x0: x - POINT, x1: x + POINT, y0: y - POINT, y1: y + POINT }));
    const labels = [];
    const lines = [];
    const touches = (box, others) => others.some((other) => overlap(other, box));
    const apart = (box) => ({ ...box, x0: box.x0 - 2 * GAP, x1: box.x1 + 2 * GAP });
    const isInside = (box) => box.x0 >= frame.x0 && box.x1 <= frame.x1
      && box.y0 >= frame.y0 && box.y1 <= frame.y1;
    return spots.map((spot) => {
      const open = candidates(spot, bars).filter((box) => isInside(box)
        && !touches(apart(box), labels) && !touches(box, points) && !touches(box, lines));
      const crossed = (box) => d3.sum(points, (point) => touches(point, leader(spot, box)));
      const best = d3.least(
        open.filter((box) => !leader(spot, box).some((piece) => touches(piece, labels))),
        (box) => box.cost + CROSSING * crossed(box) + NEARER * nearer(box, spot, spots));
      if (!best) return { spot, box: null };
      const line = leader(spot, best);
      labels.push(best);
      lines.push(...line);
      return { spot, box: best, line: line.length ? [start(spot, best), end(spot, best)] : null };
    });
  }

  /** Draws labels that have a place; returns the texts of those that have none. */
  function draw(svg, spots, bars, frame) {
    const found = places(spots, bars, frame);
    const layer = d3.select(svg).append("g").attr("class", "labels")
      .attr("fill", "var(--ink)").attr("text-anchor", "start");
    for (const { spot, box, line } of found.filter((x) => x.box)) {
      if (line) {
        layer.append("line").attr("class", "leader").attr("data-key", spot.key)
          .attr("stroke", "var(--soft)").attr("stroke-width", 1)
          .attr("x1", line[0][0]).attr("y1", line[0][1]).attr("x2", line[1][0]).attr("y2", line[1][1]);
      }
      layer.append("text").text(spot.label).attr("data-key", spot.key)
        .attr("x", box.x0 + 1).attr("y", box.y1 - 4);
    }
    return found.filter((x) => !x.box).map((x) => x.spot.label);
  }

  normjax.labels = { draw };
})();
