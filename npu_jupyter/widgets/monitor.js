/** A fine-tuning job as it goes, in a cell. */

import { short } from "./monitor-chart.js";
import { Curves } from "./monitor-curves.js";
import { History } from "./monitor-history.js";
import { JobState, curve, smoothed } from "./monitor-state.js";
import { hasNotebook, runCell } from "./shared/cells.js";
import { awayLine } from "./shared/away.js";
import { announcer, button, h, progressBar, region, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { Server } from "./shared/server.js";
import { UNKNOWN, count, facts, seconds, timeOfDay } from "./shared/words.js";

const SHAPES = {
  queued: ["empty", ""],
  initializing: ["ring", "npu-brand"],
  running: ["ring", "npu-brand"],
  stopping: ["ring", "npu-brand"],
  stopped: ["stop", ""],
  failed: ["cross", "npu-bad"],
  completed: ["tick", "npu-good"],
};
const RESUMABLE = ["stopped", "failed"];
const STOPPABLE = ["queued", "initializing", "running"];

class MonitorView {
  constructor(root, model, state) {
    this.root = root;
    this.model = model;
    this.state = state;
    region(root, `Fine-tuning job ${state.id}`);
    root.classList.add("npu-monitor");
    this.voice = announcer();
    this.away = awayLine(() => state.watch.now());
    root.append(
      this.header(),
      this.away.element,
      this.message(),
      this.progress(),
      this.details(),
      this.voice.element,
    );
  }

  header() {
    this.title = h("span", { class: "npu-title" }, `Job ${this.state.id}`);
    this.badge = h("span", { class: "npu-badge" });
    this.stop = button("stop", "Stop", () => this.state.stop(), {
      title: "Stops at the next step; the last checkpoint is kept",
    });
    this.resume = button("play", "Resume", () => this.state.resume(), {
      title: "Goes on from the last checkpoint",
    });
    this.compare = button("columns", "Compare with base", () => this.open("Compare"));
    this.chat = button(null, "Chat", () => this.open("Chat"), { kind: "npu-main" });
    return h(
      "div",
      { class: "npu-header" },
      this.title,
      this.badge,
      h("span", { class: "npu-space" }),
      this.stop,
      this.resume,
      this.compare,
      this.chat,
    );
  }

  message() {
    this.result = h("div", { class: "npu-result", hidden: true });
    this.failure = h("div", { class: "npu-failure", role: "alert", hidden: true });
    return h("div", {}, this.result, this.failure);
  }

  progress() {
    this.step = h("span", { class: "npu-number" });
    this.left = h("strong", { class: "npu-number" });
    const { bar, show } = progressBar("Training");
    this.showBar = show;
    this.figures = h("dl", { class: "npu-figures" });
    this.running = h(
      "div",
      { class: "npu-progress" },
      h("div", { class: "npu-row" }, this.step, h("span", { class: "npu-space" }), this.left),
      bar,
      this.figures,
    );
    return this.running;
  }

  details() {
    this.curves = new Curves(this.model, this.state, this.voice);
    this.history = new History(this.state);
    this.body = h(
      "details",
      { class: "npu-details", open: true },
      h("summary", {}, "Curves, sample answers, log"),
      this.curves.element,
      this.history.element,
    );
    return this.body;
  }

  /** Open the result in a cell below: alone, or beside its base. */
  open(what) {
    const { resulting_model: result, model_name: base } = this.state.job;
    const names = what === "Chat" ? [result] : [base, result];
    const code = `import npu_jupyter as npu\n\nnpu.${what}(${names.map((name) => JSON.stringify(name)).join(", ")})`;
    runCell(this.root, code);
  }

  update() {
    const { job, refused, watch } = this.state;
    const since = watch.away && timeOfDay(watch.away.since);
    const next = watch.away && `Trying every ${watch.away.wait} s.`;
    this.away.show(since && `Server away since ${since}. Training goes on without it. ${next}`);
    this.updateFailure(job, refused);
    for (const part of [this.running, this.body, this.badge]) toggle(part, Boolean(job));
    if (!job) return;
    this.updateHeader(job);
    this.updateProgress(job);
    this.updateResult(job);
    this.curves.update();
    this.history.update();
  }

  updateFailure(job, refused) {
    const words = refused ?? (job?.status === "failed" ? job.error : "");
    const last = this.state.checkpoints.at(-1);
    const kept = !refused && words && last ? ` Checkpoint step ${last.step} is kept.` : "";
    toggle(this.failure, Boolean(words));
    setText(this.failure, `${words ?? ""}${kept}`);
  }

  updateHeader(job) {
    setText(this.title, facts(`Job ${job.id}`, job.resulting_model ?? job.config.resulting_name));
    const stage =
      ["initializing", "running"].includes(job.status) && job.stage !== "training" ? job.stage : "";
    const word = facts(
      job.status === "failed" && job.current_step
        ? `failed at step ${job.current_step}`
        : job.status,
      stage,
    );
    if (this.badge.textContent !== word) {
      this.badge.replaceChildren(icon(...SHAPES[job.status]), word);
      this.voice.announce(`Job ${job.id} ${word}`);
    }
    toggle(this.stop, STOPPABLE.includes(job.status));
    toggle(this.resume, RESUMABLE.includes(job.status));
    const done = job.status === "completed" && Boolean(job.resulting_model);
    const notebook = hasNotebook();
    for (const [one, what] of [
      [this.chat, "Chat"],
      [this.compare, "Compare"],
    ]) {
      toggle(one, done);
      one.disabled = !notebook;
      one.title = notebook
        ? "Opens in a cell below"
        : `npu.${what}() opens it: there is no notebook here`;
    }
    if (this.wasOver !== this.state.over) this.body.open = job.status !== "completed";
    this.wasOver = this.state.over;
  }

  updateProgress(job) {
    toggle(this.running, job.status !== "completed");
    const percent = job.total_steps ? (100 * job.current_step) / job.total_steps : null;
    const epochs = job.config.epochs;
    setText(
      this.step,
      facts(
        job.total_steps ? `step ${count(job.current_step)} of ${count(job.total_steps)}` : "",
        job.current_epoch ? `epoch ${job.current_epoch.toFixed(2)} of ${epochs}` : "",
        job.started_at
          ? `started ${timeOfDay(job.started_at)}`
          : `waiting since ${timeOfDay(job.created_at)}`,
      ),
    );
    const left =
      job.eta_seconds !== null && !this.state.over ? `about ${seconds(job.eta_seconds)} left` : "";
    const words = facts(percent === null ? "" : `${Math.floor(percent)} %`, left);
    setText(this.left, words);
    this.showBar(this.state.over ? (percent ?? 0) : percent, words || job.status);
    this.updateFigures(job);
  }

  updateFigures(job) {
    const last = (name) => this.state.metrics.findLast((metric) => metric[name] !== undefined);
    const evaluated = last("eval_loss");
    const best = Math.min(...this.state.metrics.map((metric) => metric.eval_loss ?? Infinity));
    const smooth = smoothed(curve(this.state.metrics, "loss"), this.model.get("smoothing")).at(-1);
    const speed = last("tokens_per_second")?.tokens_per_second ?? trainedSpeed(job);
    const told = [
      ["train loss, smoothed", smooth ? smooth.y.toFixed(2) : UNKNOWN, ""],
      [
        "eval loss",
        evaluated?.eval_loss.toFixed(2) ?? UNKNOWN,
        evaluated ? `step ${evaluated.step}${evaluated.eval_loss <= best ? ", best" : ""}` : "",
      ],
      [
        "learning rate",
        last("learning_rate") ? short(last("learning_rate").learning_rate) : UNKNOWN,
        "",
      ],
      ["speed", speed ? `${count(Math.round(speed))} tok/s` : UNKNOWN, ""],
      ["trained", job.trained_tokens ? `${count(job.trained_tokens)} tokens` : UNKNOWN, ""],
      ["data", `${count(job.config.rows)} rows`, ""],
    ];
    if (!this.figures.children.length) {
      this.figures.append(
        ...told.map(([label]) =>
          h("div", {}, h("dt", {}, label), h("dd", {}, h("span"), " ", h("small"))),
        ),
      );
    }
    told.forEach(([, value, extra], at) => {
      const [number, small] = this.figures.children[at].lastChild.children;
      setText(number, value);
      setText(small, extra);
    });
  }

  updateResult(job) {
    const shown = job.status === "completed";
    toggle(this.result, shown);
    if (!shown) return;
    const losses = curve(this.state.metrics, "eval_loss");
    const took =
      job.ended_at && job.started_at ? ` in ${seconds(job.ended_at - job.started_at)}` : "";
    const agreement = job.parity?.adapter?.agreement;
    const parity = agreement === undefined ? "" : `parity ${(100 * agreement).toFixed(1)} %`;
    const served = h(
      "p",
      {},
      job.resulting_model
        ? ["served as ", h("strong", {}, job.resulting_model)]
        : "no model was registered",
      parity ? ` · ${parity}` : "",
    );
    const was = losses.length > 1 ? `, was ${losses[0].y.toFixed(2)}` : "";
    const evaluated = losses.length ? `eval loss ${losses.at(-1).y.toFixed(2)}${was}` : "";
    const meaning = parity ? "parity: same next token from the served and the trained model" : "";
    this.result.replaceChildren(
      served,
      h(
        "p",
        { class: "npu-faint" },
        facts(`${count(job.current_step)} steps${took}`, evaluated, meaning),
      ),
    );
  }

  start() {
    const update = () => this.update();
    this.state.addEventListener("change", update);
    this.model.on("change:smoothing", () => this.curves.update());
    const leave = this.state.watch.follow(this.root);
    this.update();
    return () => {
      leave();
      this.state.removeEventListener("change", update);
    };
  }
}

function trainedSpeed(job) {
  const end = job.ended_at ?? Date.now() / 1000;
  return job.trained_tokens && job.started_at ? job.trained_tokens / (end - job.started_at) : null;
}

export default () => {
  let state;
  return {
    initialize({ model }) {
      state = new JobState(new Server(model), model.get("job_id"), () =>
        model.send({ ended: true }),
      );
    },
    render({ model, el }) {
      return new MonitorView(el, model, state).start();
    },
  };
};
