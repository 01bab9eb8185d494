"use strict";
// Sorts tables, copies them, and opens what an address points at. The charts are drawn
// by other scripts; this one works without them.

(() => {
  const say = (text) => {
    document.getElementById("status").textContent = text;
  };

  // Sorting: a click on a header sorts up, then down, then as it was.
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.order;
    return number === undefined ? cell.textContent.trim() : Number(number);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const missing = (x) => x === "" || x === "-";
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  const sort = (table, header, original) => {
    const order = NEXT[header.getAttribute("aria-sort")];
    const column = header.cellIndex;
    for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", order);
    const sign = order === "descending" ? -1 : 1;
    const rows = [...original];
    if (order !== "none") {
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        return sign * compare(x, y);
      });
    }
    table.tBodies[0].append(...rows);
    const how = order === "none" ? "in its first order" : `sorted, ${order}, by ${header.textContent}`;
    say(`${table.caption.textContent}: ${how}`);
  };

  for (const table of document.querySelectorAll("table.data")) {
    const original = [...table.tBodies[0].rows];
    for (const header of table.tHead.rows[0].cells) {
      if (original.length < 2) break;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, header, original));
    }
  }

  // The columns that name a row stay in sight where there is room for the numbers: all
  // of them, or the first ones that fit. The others scroll with the numbers.
  const stick = () => {
    for (const table of document.querySelectorAll("table.data")) {
      const names = Number(table.dataset.names);
      const first = [...table.tHead.rows[0].cells].slice(0, names);
      const widths = first.map((cell) => cell.offsetWidth);
      const room = 0.45 * table.parentNode.clientWidth;
      for (const row of table.rows) {
        let left = 0;
        for (let i = 0; i < names; i += 1) {
          const fits = left + widths[i] <= room;
          row.cells[i].classList.toggle("stuck", fits);
          row.cells[i].style.left = fits ? `${left}px` : "";
          left += widths[i];
          const isLast = fits && (i + 1 === names || left + widths[i + 1] > room);
          row.cells[i].classList.toggle("edge", isLast);
        }
      }
    }
  };

  // What is larger than its box says on which sides there is more; a table says how many
  // columns and rows are not in sight. Only a box that scrolls is a stop of the Tab key.
  const number = (count, noun) => `${count} more ${noun}${count === 1 ? "" : "s"}`;
  const hint = (box) => {
    const [across, down] = [
      box.scrollWidth - box.clientWidth, box.scrollHeight - box.clientHeight];
    const sides = [
      box.scrollLeft > 1 && "left",
      box.scrollLeft < across - 1 && "right",
      box.classList.contains("long") && box.scrollTop < down - 1 && "down",
    ].filter(Boolean);
    if (sides.length) box.dataset.more = sides.join(" ");
    else delete box.dataset.more;
    if (!box.matches(".scroll")) return;
    if (across > 1 || down > 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    const more = box.parentNode.querySelector(":scope > .more");
    if (more) more.textContent = across > 1 || down > 1 ? unseen(box, sides) : "";
  };
  const unseen = (box, sides) => {
    const at = box.getBoundingClientRect();
    const beyond = (cells, edge, end) =>
      cells.filter((x) => x.getBoundingClientRect()[edge] > end + 1).length;
    const columns = beyond([...box.querySelectorAll("thead th")], "right", at.left + box.clientWidth);
    const rows = beyond([...box.querySelectorAll("tbody tr")], "bottom", at.top + box.clientHeight);
    return [
      sides.includes("right") && `${number(columns, "column")} →`,
      sides.includes("down") && `${number(rows, "row")} ↓`,
    ].filter(Boolean).join(" \u2003 ") || "the end of the table";
  };
  const wide = () => document.querySelectorAll(".scroll, .plot, .legend");
  const fit = () => {
    stick();
    for (const box of wide()) hint(box);
  };
  fit();
  addEventListener("resize", fit);
  document.addEventListener("toggle", fit, true);
  document.addEventListener("scroll", (event) => {
    if (event.target.matches?.(".scroll, .plot, .legend")) hint(event.target);
  }, true);
  document.addEventListener("drawn", (event) => hint(event.target));

  // Copying: the texts are those of the files in tables/.
  const texts = JSON.parse(document.getElementById("table-data").textContent);
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const tools of document.querySelectorAll("[data-table]")) {
    tools.querySelector(".copy").hidden = false;
    for (const button of tools.querySelectorAll("[data-copy]")) {
      const label = button.textContent;
      button.addEventListener("click", async () => {
        await copy(texts[tools.dataset.table][button.dataset.copy]);
        say(`${label} copied`);
        button.textContent = "copied ✓";
        setTimeout(() => { button.textContent = label; }, 1500);
      });
    }
  }

  // An address with the anchor of a claim opens it.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  open();
  addEventListener("hashchange", open);
})();
