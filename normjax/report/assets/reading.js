/* Reading a chart: the mark nearest to the pointer, or chosen with the arrow keys.
 *
 * A panel has `groups` of readings, each {x, y, key, title, lines, seed}: left and
 * right move within a group, up and down between groups.
 */
(() => {
  "use strict";

  const NEAR = 48; // pixels: a pointer farther from every mark reads nothing
  const SAME = 2.5; // pixels: marks that lie on one another are read together
  const MOST = 4; // readings in one tip

  let live = null; // the one region that a screen reader listens to

  function announce(text) {
    if (!live) {
      live = document.createElement("div");
      live.className = "unseen";
      live.id = "reading";
      live.setAttribute("role", "status");
      live.setAttribute("aria-live", "polite");
      document.body.append(live);
    }
    live.textContent = text;
  }

  /** The place of an event in the coordinates of an svg. */
  function position(event, svg) {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  /** Where the reading nearest to a place is: [group, position], or null. */
  function nearest(panel, [x, y]) {
    let best = null;
    let least = NEAR ** 2;
    panel.groups.forEach((group, g) => group.forEach((spot, i) => {
      const distance = (spot.x - x) ** 2 + (spot.y - y) ** 2;
      if (distance < least) [best, least] = [[g, i], distance];
    }));
    return best;
  }

  function tipOf(figure) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    figure.append(tip);
    return tip;
  }

  /** Makes a chart readable; `panels()` gives what is drawn now. */
  function attach(figure, plot, panels) {
    const tip = tipOf(figure);
    let at = null; // [panel, group, position]

    const clear = () => {
      at = null;
      tip.hidden = true;
      for (const panel of panels()) unmark(panel);
    };
    const read = (place, { aloud }) => {
      clear();
      at = place;
      const panel = panels()[place[0]];
      const spot = panel.groups[place[1]][place[2]];
      const together = [spot, ...beneath(panel, spot)];
      mark(panels(), panel, spot);
      fill(tip, together);
      put(tip, figure, panel, spot);
      if (aloud) announce(together.map(sentence).join("; "));
    };
    plot.addEventListener("pointermove", (event) => {
      const p = panels().findIndex((panel) => panel.svg.contains(event.target));
      const found = p < 0 ? null : nearest(panels()[p], position(event, panels()[p].svg));
      if (found) read([p, ...found], { aloud: false });
      else if (at) clear();
    });
    plot.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") clear();
    });
    plot.addEventListener("blur", clear);
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") clear();
      const place = moved(panels(), at, event.key);
      if (!place) return;
      event.preventDefault();
      read(place, { aloud: true });
      panels()[place[0]].svg.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    return clear;
  }

  /** Where a key leads: [panel, group, position], or null if it is no key for this. */
  function moved(panels, at, key) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const edges = { Home: 0, End: Infinity };
    if (!(key in steps) && !(key in edges)) return null;
    const groups = panels.flatMap((panel, p) =>
      panel.groups.flatMap((group, g) => (group.length ? [[p, g]] : [])));
    if (!groups.length) return null;
    if (!at) return [...groups[0], 0];
    const [p, g, i] = at;
    const group = panels[p].groups[g];
    const clamp = (n, length) => Math.min(Math.max(n, 0), length - 1);
    if (key in edges) return [p, g, clamp(edges[key], group.length)];
    const [across, along] = steps[key];
    if (along) return [p, g, clamp(i + along, group.length)];
    const now = groups.findIndex(([a, b]) => a === p && b === g);
    const [q, h] = groups[clamp(now + across, groups.length)];
    const distances = panels[q].groups[h].map((spot) => Math.abs(spot.x - group[i].x));
    return q === p && h === g ? at : [q, h, d3.minIndex(distances)];
  }

  /** Readings of others at the same place, one of each title. */
  function beneath(panel, spot) {
    const others = panel.groups.flat().filter((other) => other.title !== spot.title
      && Math.abs(other.x - spot.x) < SAME && Math.abs(other.y - spot.y) < SAME);
    return [...d3.group(others, (other) => other.title).values()].map(([first]) => first);
  }

  function sentence(spot) {
    return [spot.title, ...spot.lines].filter(Boolean).join(", ");
  }

  function fill(tip, spots) {
    const entries = spots.slice(0, MOST).map((spot) => {
      const entry = document.createElement("div");
      const title = document.createElement("strong");
      title.textContent = spot.title;
      if (spot.key) title.prepend(normjax.strokes.swatch(spot.key));
      const lines = spot.lines.map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        return line;
      });
      entry.append(title, ...lines);
      return entry;
    });
    const more = spots.length - MOST;
    if (more > 0) entries.push(`and ${more} more here`);
    tip.replaceChildren(...entries);
  }

  /** Puts the tip beside a reading, inside of the figure. */
  function put(tip, figure, { svg, box }, spot) {
    const gap = box ? box[0] / 2 + 4 : 12;
    tip.hidden = false;
    const outer = figure.getBoundingClientRect();
    const inner = svg.getBoundingClientRect();
    const scale = inner.width / svg.viewBox.baseVal.width;
    const x = inner.left - outer.left + spot.x * scale;
    const y = inner.top - outer.top + spot.y * scale;
    const isRight = x + gap + tip.offsetWidth > outer.width;
    const left = isRight ? x - tip.offsetWidth - gap : x + gap;
    tip.style.left = `${Math.max(0, Math.min(left, outer.width - tip.offsetWidth))}px`;
    const isLow = left < 0 && isRight; // no room beside it: below or above
    const above = y - tip.offsetHeight - 12;
    tip.style.top = `${isLow ? Math.max(0, above) : Math.max(0, y - tip.offsetHeight / 2)}px`;
  }

  /** Draws a ring around what is read, and fades the other strokes of its panel. */
  function mark(all, panel, spot) {
    for (const other of all) {
      const svg = d3.select(other.svg);
      svg.selectAll("g.cursor").remove();
      const layer = svg.append("g").attr("class", "cursor").attr("pointer-events", "none");
      if (other.join && spot.seed !== undefined) other.join(layer, spot.seed);
      if (other !== panel) continue;
      if (panel.box) {
        const [w, h] = panel.box;
        layer.append("rect").attr("x", spot.x - w / 2).attr("y", spot.y - h / 2)
          .attr("width", w).attr("height", h);
      } else {
        layer.append("circle").attr("cx", spot.x).attr("cy", spot.y).attr("r", 7);
      }
      layer.select(":last-child").attr("fill", "none").attr("stroke", "var(--ink)")
        .attr("stroke-width", 1.75);
      svg.selectAll("[data-key]").classed("faded", function () {
        return !panel.join && spot.key !== "" && this.dataset.key !== spot.key;
      });
    }
  }

  function unmark(panel) {
    const svg = d3.select(panel.svg);
    svg.selectAll("g.cursor").remove();
    svg.selectAll(".faded").classed("faded", false);
  }

  normjax.reading = { attach };
})();
