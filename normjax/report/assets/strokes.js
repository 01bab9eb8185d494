/* How arms look, which of them are shown, and the legend that shows and hides them. */
(() => {
  "use strict";

  const COLOURS = 8; // --c0 to --c7
  const DASHES = ["", "7 3", "2 2.5", "9 3 2 3", "14 4", "5 2 1 2 1 2"];
  const SYMBOLS = ["circle", "square", "triangle", "diamond", "wye", "star"];

  let strokes = {}; // key -> stroke
  const hidden = new Set();
  const listeners = [];

  /** Takes the strokes of the page. */
  function load(all) {
    strokes = all;
  }

  /** The CSS colour of a key; that of text for the key "". */
  function colour(key) {
    const stroke = strokes[key];
    return stroke ? `var(--c${stroke.colour % COLOURS})` : "var(--ink)";
  }

  function dash(key) {
    return DASHES[(strokes[key]?.dash ?? 0) % DASHES.length];
  }

  function symbol(key) {
    return SYMBOLS[(strokes[key]?.dash ?? 0) % SYMBOLS.length];
  }

  /** What a reader calls a key. */
  function label(key) {
    return strokes[key]?.label ?? "";
  }

  function isVisible(key) {
    return !hidden.has(key);
  }

  /** Shows exactly the keys for which `wanted` is true, then tells the listeners. */
  function show(wanted) {
    const unwanted = Object.keys(strokes).filter((key) => !wanted(key));
    hidden.clear();
    for (const key of unwanted) hidden.add(key);
    for (const listener of listeners) listener();
  }

  function toggle(key) {
    const now = hidden.has(key);
    show((other) => (other === key ? now : !hidden.has(other)));
  }

  /** Calls `listener` after every change of what is shown. */
  function onChange(listener) {
    listeners.push(listener);
  }

  /** A picture of a stroke: a piece of its line with its symbol, as SVG. */
  function swatch(key) {
    const svg = d3.create("svg").attr("class", "swatch").attr("aria-hidden", "true");
    svg.attr("viewBox", "0 0 30 12").attr("width", 30).attr("height", 12);
    svg.append("line").attr("x1", 0).attr("x2", 30).attr("y1", 6).attr("y2", 6)
      .attr("stroke", colour(key)).attr("stroke-width", 2.5)
      .attr("stroke-dasharray", dash(key) || null);
    svg.append("path").attr("transform", "translate(15,6)").attr("fill", colour(key))
      .attr("d", d3.symbol(shape(key), 40)());
    return svg.node();
  }

  /** The shape of a key's symbol, as d3 has it. */
  function shape(key) {
    const name = symbol(key);
    return d3[`symbol${name[0].toUpperCase()}${name.slice(1)}`];
  }

  function button(name, className, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = className;
    made.textContent = name;
    made.addEventListener("click", act);
    return made;
  }

  /** Fills the legend: for each stroke a toggle, and a button that shows it alone. */
  function legend(box, title) {
    const items = Object.keys(strokes).map(legendItem);
    const heading = document.createElement("span");
    heading.className = "heading";
    heading.textContent = title;
    const all = button("show all", "all", () => show(() => true));
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${title}: what the charts show`);
    box.replaceChildren(heading, ...items.map((item) => item.node), all);
    const update = () => {
      for (const item of items) item.update();
      all.disabled = hidden.size === 0;
    };
    onChange(update);
    update();
    box.dispatchEvent(new Event("drawn", { bubbles: true })); // it may be wider than a phone
  }

  /** Fades the marks of all other keys in every chart; of none if `key` is null. */
  function highlight(key) {
    for (const mark of document.querySelectorAll(".chart .plot [data-key]")) {
      mark.classList.toggle("faded", key !== null && mark.dataset.key !== key);
    }
  }

  function legendItem(key) {
    const node = document.createElement("span");
    const main = button(label(key), "stroke", () => toggle(key));
    const only = button("only", "only", () => show((other) => other === key));
    main.dataset.stroke = key;
    main.title = `show or hide ${label(key)} in every chart`;
    main.prepend(swatch(key));
    only.setAttribute("aria-label", `show only ${label(key)}`);
    only.title = `show only ${label(key)}`;
    node.className = "item";
    const on = () => { if (isVisible(key)) highlight(key); };
    node.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") on(); });
    node.addEventListener("pointerleave", () => highlight(null));
    node.addEventListener("focusin", () => { if (node.querySelector(":focus-visible")) on(); });
    node.addEventListener("focusout", () => highlight(null));
    node.append(main, only);
    return { node, update: () => main.setAttribute("aria-pressed", isVisible(key)) };
  }

  normjax.strokes = {
    load, colour, dash, symbol, shape, label, isVisible, onChange, legend, button, swatch,
  };
})();
