/** Loss and learning rate of a job as curves with one cursor, and as a table. */

import { Chart, short } from "./monitor-chart.js";
import { curve, smoothed } from "./monitor-state.js";
import { h, setText, toggle } from "./shared/dom.js";
import { UNKNOWN } from "./shared/words.js";

export class Curves {
  constructor(model, state, voice) {
    this.model = model;
    this.state = state;
    this.voice = voice;
    this.cursor = null;
    this.smoothing = h("input", {
      type: "range",
      min: "0",
      max: "0.99",
      step: "0.01",
      value: String(this.model.get("smoothing")),
      "aria-label": "Smoothing",
      input: () => this.smooth(),
    });
    this.smoothingWord = h("span", { class: "npu-number" });
    const legend = ["train", "smoothed", "eval"].map((name) =>
      h("span", { class: `npu-key npu-key-${name} npu-faint` }, name),
    );
    const slider = h(
      "label",
      { class: "npu-row npu-faint" },
      "smoothing",
      this.smoothing,
      this.smoothingWord,
    );
    const moved = (step) => this.point(step);
    this.loss = new Chart("Loss", ["train", "smoothed"], {
      head: [...legend, h("span", { class: "npu-space" }), slider],
      moved,
    });
    this.rate = new Chart("Learning rate", ["rate"], { moved });
    for (const chart of [this.loss, this.rate])
      chart.svg.addEventListener("keydown", (event) => this.arrow(event));
    this.charts = h("div", { class: "npu-charts" }, this.loss.element, this.rate.element);
    this.table = h("details", { class: "npu-table-details" }, h("summary", {}, "Show as table"));
    this.table.addEventListener("toggle", () => this.updateTable());
    this.element = h("div", {}, this.charts, this.table);
  }

  smooth() {
    this.model.set("smoothing", Number(this.smoothing.value));
    this.model.save_changes();
    this.update();
  }

  update() {
    const { metrics, job, checkpoints } = this.state;
    const weight = this.model.get("smoothing");
    if (document.activeElement !== this.smoothing) this.smoothing.value = String(weight);
    setText(this.smoothingWord, weight.toFixed(2));
    const train = curve(metrics, "loss");
    const rate = curve(metrics, "learning_rate");
    const evals = curve(metrics, "eval_loss").filter((point) => point.y !== null);
    toggle(this.charts, train.length > 0);
    toggle(this.table, train.length > 0);
    if (!job || !train.length) return;
    const total = Math.max(job.total_steps, train.at(-1).x);
    this.smoothLine = smoothed(train, weight);
    this.loss.update(
      { train, smoothed: this.smoothLine, eval: evals },
      total,
      checkpoints.map((one) => one.step),
    );
    this.rate.update({ rate }, total);
    const first = train.find((point) => point.y !== null);
    this.loss.say(
      `from ${first.y.toFixed(2)} at step ${first.x} to ${train.at(-1).y.toFixed(2)} at step ${train.at(-1).x}${evals.length ? `, eval ${evals.at(-1).y.toFixed(2)}` : ""}`,
    );
    this.rate.say(`${short(rate.at(-1)?.y ?? 0)} at step ${rate.at(-1)?.x ?? 0}`);
    this.updateTable();
  }

  /** Move one cursor through both charts. */
  point(step) {
    const metric =
      step === null
        ? null
        : nearest(
            this.state.metrics.filter((one) => one.loss !== undefined),
            step,
          );
    this.cursor = metric?.step ?? null;
    if (!metric) {
      this.loss.point(null);
      this.rate.point(null);
      return;
    }
    const smooth = this.smoothLine.findLast((point) => point.x === metric.step);
    const words = [
      `step ${metric.step}, epoch ${metric.epoch.toFixed(2)}`,
      `train ${metric.loss.toFixed(3)}, smoothed ${smooth?.y?.toFixed(3) ?? UNKNOWN}`,
      `rate ${short(metric.learning_rate ?? 0)}`,
    ];
    this.loss.point(metric.step, words.join("\n"));
    this.rate.point(metric.step);
  }

  arrow(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.point(null);
    if (!step) return;
    event.preventDefault();
    const steps = this.state.metrics.filter((one) => one.loss !== undefined).map((one) => one.step);
    const at =
      this.cursor === null || this.cursor === undefined ? steps.length : steps.indexOf(this.cursor);
    this.point(steps[Math.max(0, Math.min(steps.length - 1, at + step))]);
    this.voice.announce(this.loss.tip.textContent.replaceAll("\n", ", "));
  }

  updateTable() {
    if (!this.table.open) return;
    const rows = this.state.metrics.map((metric) => [
      metric.step,
      metric.epoch,
      metric.loss,
      metric.eval_loss,
      metric.learning_rate,
    ]);
    if (rows.length === this.tabled) return;
    this.tabled = rows.length;
    const cell = (value) =>
      h("td", {}, value === undefined || value === null ? UNKNOWN : short(value));
    const heads = ["Step", "Epoch", "Loss", "Eval loss", "Learning rate"].map((word) =>
      h("th", { scope: "col" }, word),
    );
    const table = h(
      "table",
      {},
      h("thead", {}, h("tr", {}, heads)),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, row.map(cell))),
      ),
    );
    this.table.replaceChildren(
      this.table.firstChild,
      h("div", { class: "npu-table-frame" }, table),
    );
  }
}

/** Give the metric whose step is the nearest. */
function nearest(metrics, step) {
  return metrics.reduce(
    (best, one) =>
      best === null || Math.abs(one.step - step) < Math.abs(best.step - step) ? one : best,
    null,
  );
}
