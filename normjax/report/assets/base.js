/* Numbers as text, smoothing, and the width of texts: what every chart needs.
 *
 * Every file adds one member to the global `normjax` and leaves nothing else behind.
 */
window.normjax = {};

(() => {
  "use strict";

  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
  const SIZE = 12; // of the letters of a chart, in pixels

  /** A number with at most `digits` significant digits; null is "none". */
  function number(value, digits = 4) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "none";
    const size = Math.abs(value);
    const plain = value === 0 || (size >= 1e-3 && size < 1e6);
    if (plain) return d3.format(`.${digits}~r`)(value);
    const [mantissa, exponent] = d3.format(`.${digits - 1}~e`)(value).split("e");
    return `${mantissa} · 10${raised(Number(exponent.replace("−", "-")))}`;
  }

  /** An exponent in raised digits: -3 is ⁻³. */
  function raised(exponent) {
    const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    const text = [...String(Math.abs(exponent))].map((x) => digits[x]).join("");
    return (exponent < 0 ? "⁻" : "") + text;
  }

  /** "[low, high]", or "" if there is neither. */
  function interval(low, high) {
    if (!isNumber(low) && !isNumber(high)) return "";
    const bound = (value, none) => (isNumber(value) ? number(value) : none);
    return `[${bound(low, "−∞")}, ${bound(high, "∞")}]`;
  }

  function isNumber(value) {
    return typeof value === "number" && Number.isFinite(value);
  }

  /**
   * An exponential moving average without the pull towards zero at the start:
   * s[n] = w s[n-1] + (1 - w) y[n], divided by 1 - w^n; n counts the numbers so far.
   * Entries that are null stay null and do not move the average.
   */
  function smooth(values, weight) {
    if (!weight) return values;
    let sum = 0;
    let total = 0;
    return values.map((value) => {
      if (!isNumber(value)) return null;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  }

  const pencil = document.createElement("canvas").getContext("2d");

  /** The width of a text in pixels. */
  function textWidth(text, { size = SIZE, weight = 400 } = {}) {
    pencil.font = `${weight} ${size}px ${FONT}`;
    return pencil.measureText(text).width;
  }

  /** The text in lines of at most `width` pixels, broken between words. */
  function wrap(text, width, font = {}) {
    const lines = [];
    let line = "";
    for (const word of text.split(/\s+/)) {
      const longer = line ? `${line} ${word}` : word;
      if (line && textWidth(longer, font) > width) {
        lines.push(line);
        line = word;
      } else {
        line = longer;
      }
    }
    return line ? [...lines, line] : lines;
  }

  /** The least and the greatest number among many; null if there is none. */
  function extent(values) {
    const [low, high] = d3.extent(values.filter(isNumber));
    return low === undefined ? null : [low, high];
  }

  normjax.base = {
    FONT, SIZE, number, raised, interval, isNumber, smooth, textWidth, wrap, extent,
  };
})();
