/* The tools above a chart, and the table of its numbers below. */
(() => {
  "use strict";
  const { button } = normjax.strokes;

  function checkbox(text, checked, act) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "checkbox";
    input.checked = checked;
    input.addEventListener("change", () => act(input.checked));
    label.append(input, ` ${text}`);
    return label;
  }

  /** A slider from 0 to 0.99: the weight of the past in the moving average. */
  function slider(view, redraw) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const output = document.createElement("output");
    Object.assign(input, { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 });
    input.setAttribute("aria-label", "smoothing: weight of the past");
    output.textContent = "0";
    input.addEventListener("input", () => {
      view.smoothing = input.valueAsNumber;
      output.textContent = String(view.smoothing);
      redraw();
    });
    label.append("smoothing ", input, " ", output);
    label.className = "smoothing";
    return label;
  }

  /** Fills the tools of a chart; each changes the view and draws again. */
  function tools(box, chart, view, { redraw, save }) {
    const status = document.createElement("span");
    status.className = "status";
    status.setAttribute("role", "status");
    const act = (change) => (value) => {
      change(value);
      redraw();
    };
    const made = [];
    if (chart.smooth) {
      made.push(slider(view, () => {
        status.textContent = view.smoothing
          ? "Smoothed: intervals are hidden, the faint lines are as measured." : "";
        redraw();
      }));
    }
    for (const name of ["y", "x"]) {
      if (!chart[name].may_switch) continue;
      made.push(checkbox(`log ${name}`, view.log[name], act((on) => { view.log[name] = on; })));
    }
    if (chart.kind === "lines" && chart.panels.some((p) => p.marks.some((s) => s.values?.length))) {
      made.push(checkbox("seeds", view.seeds, act((on) => { view.seeds = on; })));
    }
    const saving = button("save SVG", "save", save);
    saving.title = "save this chart as it is shown now";
    box.replaceChildren(...made, saving, status);
  }

  function cell(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  /** A table from {header, rows}, in a box that scrolls. */
  function table({ header, rows }, caption) {
    const made = document.createElement("table");
    const head = made.createTHead().insertRow();
    for (const text of header) {
      const th = cell("th", text);
      th.scope = "col";
      head.append(th);
    }
    const body = made.createTBody();
    for (const row of rows) {
      const th = cell("th", row[0]);
      th.scope = "row";
      body.insertRow().append(th, ...row.slice(1).map((text) => cell("td", text)));
    }
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", caption);
    box.append(made);
    return box;
  }

  /** A `details` that holds what is drawn as numbers, made when it is opened. */
  function numbers(chart, rows) {
    const details = document.createElement("details");
    details.className = "numbers";
    details.append(cell("summary", "numbers"));
    const fill = () => {
      details.querySelector(".scroll")?.remove();
      if (details.open) details.append(table(rows(), `numbers of ${chart.title}`));
    };
    details.addEventListener("toggle", fill);
    return { details, update: fill };
  }

  normjax.tools = { tools, numbers };
})();
