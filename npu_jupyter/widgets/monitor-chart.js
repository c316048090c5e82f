/** A line chart that grows: the scale stays until it must grow, and only lines are redrawn. */

import { h, setText, toggle } from "./shared/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 200;
const MARGIN = { top: 10, right: 10, bottom: 22, left: 44 };
const MOST_POINTS = 1000;

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Give round numbers from 0 or below to `high` or above, about four steps. */
function ticks(low, high) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
  const from = Math.floor(low / step) * step;
  const found = [];
  for (let at = from; at < high + step * 0.999; at += step) found.push(Number(at.toPrecision(6)));
  return found;
}

/** Write a number of an axis: 0.0002 as 2e-4. */
export function short(number) {
  if (number === 0) return "0";
  return Math.abs(number) < 0.01
    ? number.toExponential(1).replace(".0e", "e")
    : String(Number(number.toPrecision(3)));
}

/** Leave out points that nobody could tell apart, keeping gaps. */
function thinned(points) {
  const every = Math.ceil(points.length / MOST_POINTS);
  return every > 1
    ? points.filter((point, at) => at % every === 0 || at === points.length - 1 || point.y === null)
    : points;
}

export class Chart {
  constructor(title, lines, { head = [], moved }) {
    this.lines = lines;
    this.moved = moved;
    this.width = 0;
    this.range = null;
    this.series = {};
    this.grid = draw("g", { class: "npu-grid" });
    this.paths = Object.fromEntries(
      lines.map((name) => [name, draw("path", { class: `npu-line npu-line-${name}` })]),
    );
    this.dots = draw("g", { class: "npu-dots" });
    this.cursor = draw("line", {
      class: "npu-cursor",
      y1: MARGIN.top,
      y2: HEIGHT - MARGIN.bottom,
      visibility: "hidden",
    });
    this.svg = draw("svg", { class: "npu-chart", height: HEIGHT, role: "img", tabindex: "0" });
    this.svg.append(this.grid, ...Object.values(this.paths), this.dots, this.cursor);
    this.summary = h("span", { class: "npu-unseen" });
    this.tip = h("div", { class: "npu-tip", hidden: true });
    this.title = title;
    const frame = h("div", { class: "npu-chart-frame" }, this.svg, this.tip);
    this.element = h(
      "div",
      { class: "npu-chart-box" },
      h("div", { class: "npu-row npu-chart-head" }, h("strong", {}, title), head),
      frame,
      this.summary,
    );
    this.svg.addEventListener("pointermove", (event) => this.moved(this.stepAt(event.offsetX)));
    this.svg.addEventListener("pointerleave", () => this.moved(null));
    this.svg.addEventListener("blur", () => this.moved(null));
    this.resized = new ResizeObserver(([entry]) => this.resize(entry.contentRect.width));
    this.resized.observe(frame);
  }

  resize(width) {
    if (Math.abs(width - this.width) < 1) return;
    this.width = width;
    this.svg.setAttribute("width", width);
    this.range = null;
    this.update(this.series, this.total, this.marks);
  }

  x(step) {
    return (
      MARGIN.left + ((this.width - MARGIN.left - MARGIN.right) * step) / Math.max(1, this.total)
    );
  }

  y(value) {
    const [low, high] = this.range;
    return (
      MARGIN.top + ((HEIGHT - MARGIN.top - MARGIN.bottom) * (high - value)) / (high - low || 1)
    );
  }

  stepAt(px) {
    const part = (px - MARGIN.left) / Math.max(1, this.width - MARGIN.left - MARGIN.right);
    return Math.max(0, Math.min(this.total, Math.round(part * this.total)));
  }

  /** Draw `series`, lists of `{x, y}` by a line's name, over `total` steps; a null y is a gap. */
  update(series, total, marks = []) {
    this.series = series;
    this.marks = marks;
    const grew = total !== this.total;
    this.total = total;
    if (!this.width || !total) return;
    const values = Object.values(series)
      .flat()
      .map((point) => point.y)
      .filter((y) => y !== null && Number.isFinite(y));
    if (!values.length) return;
    if (
      this.stretch(Math.min(...values), Math.max(...values)) ||
      grew ||
      marks.length !== this.marked
    )
      this.axes(marks);
    for (const name of this.lines)
      this.paths[name].setAttribute("d", this.path(thinned(series[name] ?? [])));
    this.dots.replaceChildren(
      ...(series.eval ?? []).map((point) =>
        draw("circle", { cx: this.x(point.x), cy: this.y(point.y), r: 4 }),
      ),
    );
  }

  path(points) {
    let pen = "M";
    return points
      .map(({ x, y }) => {
        if (y === null || !Number.isFinite(y)) {
          pen = "M";
          return "";
        }
        const part = `${pen}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
        pen = "L";
        return part;
      })
      .join("");
  }

  stretch(low, high) {
    const [bottom, top] = this.range ?? [Infinity, -Infinity];
    if (low >= bottom && high <= top) return false;
    const marks = ticks(Math.min(0, low, bottom), Math.max(high, top));
    this.range = [marks[0], marks.at(-1)];
    return true;
  }

  axes(marks) {
    this.marked = marks.length;
    const right = this.width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const across = ticks(...this.range)
      .filter((value) => value <= this.range[1] + 1e-12)
      .flatMap((value) => [
        draw("line", { x1: MARGIN.left, x2: right, y1: this.y(value), y2: this.y(value) }),
        draw(
          "text",
          { x: MARGIN.left - 6, y: this.y(value) + 4, "text-anchor": "end" },
          short(value),
        ),
      ]);
    const down = marks.map((step) =>
      draw("line", {
        class: "npu-checkpoint",
        x1: this.x(step),
        x2: this.x(step),
        y1: MARGIN.top,
        y2: bottom,
      }),
    );
    const steps = [0, Math.round(this.total / 2), this.total].map((step, at) =>
      draw(
        "text",
        { x: this.x(step), y: HEIGHT - 6, "text-anchor": ["start", "middle", "end"][at] },
        at ? String(step) : "step 0",
      ),
    );
    this.grid.replaceChildren(...across, ...down, ...steps);
  }

  /** Show the cursor at a step with what is there; null hides it. */
  point(step, words) {
    const shown = step !== null && this.range !== null;
    this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
    toggle(this.tip, shown && Boolean(words));
    if (!shown) return;
    const at = this.x(step);
    this.cursor.setAttribute("x1", at);
    this.cursor.setAttribute("x2", at);
    setText(this.tip, words ?? "");
    this.tip.style.left = at > this.width / 2 ? "" : `${at + 8}px`;
    this.tip.style.right = at > this.width / 2 ? `${this.width - at + 8}px` : "";
  }

  /** Say the chart in a sentence. */
  say(words) {
    this.svg.setAttribute("aria-label", `${this.title}: ${words}`);
  }
}
