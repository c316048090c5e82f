/** What a job answered as it went, and its log. */

import { button, copyButton, h, setText, toggle } from "./shared/dom.js";
import { timeOfDay } from "./shared/words.js";

const LOG_LINES = 200;

export class History {
  constructor(state) {
    this.state = state;
    this.prompt = 0;
    this.element = h("div", {}, this.sampleBox(), this.logBox());
  }

  update() {
    this.updateSamples();
    this.updateLog();
  }

  sampleBox() {
    this.samplePrompt = h("span");
    this.samplePlace = h("span", { class: "npu-faint npu-number" });
    const turn = (by) => () => {
      this.prompt += by;
      this.updateSamples();
    };
    this.earlier = button("left", "Earlier prompt", turn(-1), { kind: "npu-quiet", show: false });
    this.later = button("right", "Next prompt", turn(1), { kind: "npu-quiet", show: false });
    this.answers = h("dl", { class: "npu-answers" });
    const head = h(
      "div",
      { class: "npu-row" },
      h("strong", {}, "Sample answers"),
      this.samplePrompt,
      h("span", { class: "npu-space" }),
      this.samplePlace,
      this.earlier,
      this.later,
    );
    this.samples = h(
      "section",
      { class: "npu-part", hidden: true, "aria-label": "Sample answers" },
      head,
      this.answers,
    );
    return this.samples;
  }

  logBox() {
    this.logCount = h("span", { class: "npu-faint" });
    this.lines = h("pre", { class: "npu-log-lines", tabindex: "0", "aria-label": "Log" });
    const copy = copyButton(() => this.state.log.map(logLine).join("\n"));
    this.log = h(
      "section",
      { class: "npu-part", hidden: true, "aria-label": "Log" },
      h(
        "div",
        { class: "npu-row" },
        h("strong", {}, "Log"),
        this.logCount,
        h("span", { class: "npu-space" }),
        copy,
      ),
      this.lines,
    );
    return this.log;
  }

  updateSamples() {
    const prompts = [...new Set(this.state.samples.map((sample) => sample.prompt))];
    toggle(this.samples, prompts.length > 0);
    if (!prompts.length) return;
    this.prompt = (this.prompt + prompts.length) % prompts.length;
    const shown = this.state.samples.filter((sample) => sample.prompt === prompts[this.prompt]);
    setText(this.samplePrompt, `“${prompts[this.prompt]}”`);
    setText(this.samplePlace, `prompt ${this.prompt + 1} of ${prompts.length}`);
    for (const turn of [this.earlier, this.later]) toggle(turn, prompts.length > 1);
    this.answers.replaceChildren(
      ...shown.flatMap((sample) => [
        h("dt", {}, sample.step ? `step ${sample.step}` : "step 0, base"),
        h("dd", {}, sample.answer),
      ]),
    );
  }

  updateLog() {
    const { log } = this.state;
    toggle(this.log, log.length > 0);
    if (log.length === this.logged) return;
    this.logged = log.length;
    const shown = log.slice(-LOG_LINES);
    setText(
      this.logCount,
      shown.length < log.length ? `last ${shown.length} of ${log.length} lines` : "",
    );
    const atEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 30;
    setText(this.lines, shown.map(logLine).join("\n"));
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }
}

function logLine({ time, level, message }) {
  return `${timeOfDay(time, true)}  ${level === "info" ? "" : `${level}: `}${message}`;
}
