/** A form that starts a fine-tuning job, in a cell. */

import { CheckView } from "./finetune-check.js";
import { chatModels, fillPicker, firstChoice } from "./shared/catalogue.js";
import { hasNotebook, runCell } from "./shared/cells.js";
import { button, copyText, field, h, region, setText, toggle } from "./shared/dom.js";
import { Server } from "./shared/server.js";
import { count, counted, facts } from "./shared/words.js";

const CHECK_AFTER_MS = 600;
const PREVIEW_ROWS = 20;
const NUMBERS = [
  ["epochs", "Epochs", 3, { min: 0.01, max: 1000, step: "any" }],
  ["batch_size", "Batch size", 4, { min: 1, max: 1024, step: 1 }],
  ["learning_rate", "Learning rate", 2e-4, { min: 1e-8, max: 1, step: "any" }],
  ["max_length", "Max length", 0, { min: 0, max: 1000000, step: 1 }],
  ["lora_r", "LoRA r", 16, { min: 1, max: 512, step: 1 }],
  ["lora_alpha", "LoRA alpha", 32, { min: 1, max: 4096, step: 1 }],
];
const SWITCHES = [
  ["use_lora", "LoRA", true, "off trains all weights"],
  ["quantize_base", "Quantise the base", false, "QLoRA, NF4"],
  ["assistant_only_loss", "Learn answers only", true, "off learns the prompts too"],
];
const CHECKED_AGAIN = ["max_length", "assistant_only_loss"];

class FormView {
  constructor(root, model, server) {
    this.root = root;
    this.model = model;
    this.server = server;
    this.models = [];
    this.report = null;
    region(root, "Fine-tune");
    root.classList.add("npu-finetune");
    this.checkView = new CheckView(this);
    root.append(
      this.header(),
      h("div", { class: "npu-form" }, this.what(), this.how()),
      this.footer(),
    );
  }

  header() {
    const copy = button(
      "copy",
      "Copy as code",
      async () => {
        await copyText(this.code());
        copy.classList.add("npu-done");
      },
      { kind: "npu-quiet" },
    );
    const title = h("span", { class: "npu-title" }, "Fine-tune");
    return h(
      "div",
      { class: "npu-header" },
      title,
      h("span", { class: "npu-faint" }, "nothing runs until you press Start"),
      h("span", { class: "npu-space" }),
      copy,
    );
  }

  /** What is trained, and on what. */
  what() {
    this.picker = h("select", {
      class: "npu-input",
      change: () => this.choose("model", this.picker.value),
    });
    this.base = h("span", { class: "npu-faint" });
    this.suffix = h("input", {
      class: "npu-input",
      placeholder: "chosen by the server",
      input: () => this.set("suffix", this.suffix.value.trim()),
    });
    this.dataset = h("input", {
      class: "npu-input",
      placeholder: "path or name",
      input: () => this.choose("dataset", this.dataset.value.trim()),
    });
    this.found = h("div", { class: "npu-faint npu-found" });
    this.errors = {
      model_id: problem(this.picker),
      suffix: problem(this.suffix),
      dataset: problem(this.dataset),
    };
    const served = h("div", { class: "npu-served" }, this.base, this.suffix);
    const names = h(
      "div",
      { class: "npu-names" },
      h("div", {}, field("Base model", this.picker), this.errors.model_id),
      h("div", {}, field("Served as", served), this.errors.suffix),
    );
    return h(
      "div",
      { class: "npu-what" },
      names,
      field("Dataset", this.dataset),
      this.errors.dataset,
      this.found,
      this.checkView.element,
    );
  }

  /** The settings. */
  how() {
    this.inputs = {};
    const numbers = NUMBERS.map(([name, label, standard, bounds]) => {
      const input = h("input", {
        class: "npu-input",
        type: "number",
        ...bounds,
        placeholder: name === "max_length" ? "all" : String(standard),
      });
      input.addEventListener(
        "input",
        () =>
          input.validity.valid &&
          this.setting(name, input.value === "" ? undefined : Number(input.value)),
      );
      this.inputs[name] = input;
      this.errors[name] = problem(input);
      return h("div", {}, field(label, input), this.errors[name]);
    });
    const switches = SWITCHES.map(([name, label, , hint]) =>
      this.tick(name, label, hint, (on) => this.setting(name, on)),
    );
    switches.push(
      this.tick("eval_split", "Evaluate on 10 %", "held out, never trained on", (on) =>
        this.setting("eval_split", on ? undefined : 0),
      ),
    );
    this.tokens = h("div", { class: "npu-faint npu-number" });
    return h(
      "div",
      { class: "npu-how" },
      h("strong", {}, "Settings"),
      h("div", { class: "npu-numbers" }, numbers),
      switches,
      h("strong", {}, "Tokens per row"),
      this.tokens,
    );
  }

  tick(name, label, hint, changed) {
    const input = h("input", { type: "checkbox", change: () => changed(input.checked) });
    this.inputs[name] = input;
    return h("label", { class: "npu-row npu-tick" }, input, label, h("small", {}, hint));
  }

  footer() {
    this.cost = h("strong", { class: "npu-number" });
    this.startButton = button("play", "Start", () => this.begin(), { kind: "npu-main" });
    this.watch = button(null, "", () => this.open(), { hidden: true });
    this.problem = h("div", { role: "alert", class: "npu-problem" });
    const words =
      "Time and memory are measured on your rows before the first step. What cannot fit is refused, with its numbers.";
    return h(
      "div",
      { class: "npu-footer" },
      h("div", {}, this.cost, h("div", { class: "npu-faint" }, words), this.problem),
      h("span", { class: "npu-space" }),
      this.watch,
      this.startButton,
    );
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  /** Set what a check depends on. */
  choose(name, value) {
    this.set(name, value);
    this.check();
  }

  setting(name, value) {
    const settings = { ...this.model.get("settings") };
    if (value === undefined) delete settings[name];
    else settings[name] = value;
    this.set("settings", settings);
    if (CHECKED_AGAIN.includes(name)) this.check();
  }

  /** Check the dataset, a moment after the last change. */
  check(after = CHECK_AFTER_MS) {
    clearTimeout(this.timer);
    this.checking?.abort();
    this.report = null;
    this.complain(null);
    const ready = this.model.get("dataset") && this.model.get("model");
    if (ready) this.timer = setTimeout(() => this.checkNow(), after);
    else this.checkView.clear();
    this.update();
  }

  async checkNow() {
    const checking = (this.checking = new AbortController());
    const { max_length, assistant_only_loss } = this.model.get("settings");
    const body = {
      model: this.model.get("model"),
      dataset: this.model.get("dataset"),
      max_length,
      assistant_only_loss,
      preview: PREVIEW_ROWS,
    };
    this.checkView.checking();
    try {
      this.report = await this.server.ask("POST", "api/npu/datasets/check", body, checking.signal);
      this.checkView.show(this.report);
    } catch (error) {
      if (checking.signal.aborted) return;
      this.checkView.failed(error.message);
    }
    this.update();
  }

  get body() {
    const leave =
      this.model.get("leave_out") && this.report?.bad_rows
        ? { max_bad_rows: this.report.bad_rows }
        : {};
    const suffix = this.model.get("suffix") ? { suffix: this.model.get("suffix") } : {};
    return { ...suffix, ...leave, ...this.model.get("settings") };
  }

  code() {
    const python = (value) =>
      value === true ? "True" : value === false ? "False" : JSON.stringify(value);
    const settings = Object.entries(this.body).map(([name, value]) => `, ${name}=${python(value)}`);
    const names = [this.model.get("model"), this.model.get("dataset")].map(python).join(", ");
    return `import npu_jupyter as npu\n\njob = npu.connect().finetune.start(${names}${settings.join("")})\nnpu.Monitor(job)`;
  }

  async begin() {
    this.starting = true;
    this.complain(null);
    this.update();
    const body = {
      model_id: this.model.get("model"),
      dataset: this.model.get("dataset"),
      ...this.body,
    };
    try {
      const { job_id: job } = await this.server.ask("POST", "api/finetune/start", body);
      this.set("job_id", job);
      if (hasNotebook()) this.open();
    } catch (error) {
      this.complain(error);
    }
    this.starting = false;
    this.update();
  }

  /** Watch the job in a cell below. */
  open() {
    runCell(this.root, `import npu_jupyter as npu\n\nnpu.Monitor(${this.model.get("job_id")})`);
  }

  /** Say an error below its field, or beside Start. */
  complain(error) {
    const at = this.errors[error?.param];
    for (const element of Object.values(this.errors))
      setText(element, element === at ? error.message : "");
    setText(this.problem, error && !at ? error.message : "");
  }

  async refresh() {
    const all = await chatModels(this.server).catch(() => []);
    this.models = all.filter((model) => !model.parent);
    if (!this.model.get("model")) this.set("model", firstChoice(this.models));
    this.update();
    this.check(0);
  }

  update() {
    const { model, report } = this;
    const name = model.get("model");
    fillPicker(this.picker, this.models, name);
    setText(this.base, `${name}:`);
    for (const [key, input] of [
      ["suffix", this.suffix],
      ["dataset", this.dataset],
    ]) {
      if (document.activeElement !== input) input.value = model.get(key);
    }
    const settings = model.get("settings");
    for (const [key, , standard] of NUMBERS)
      if (document.activeElement !== this.inputs[key])
        this.inputs[key].value = settings[key] ?? (standard || "");
    for (const [key, , standard] of SWITCHES) this.inputs[key].checked = settings[key] ?? standard;
    this.inputs.eval_split.checked = settings.eval_split !== 0;
    this.inputs.quantize_base.disabled = settings.use_lora === false;
    this.checkView.update(model.get("leave_out"));
    this.updateReport(report, settings);
    this.updateStart(report);
  }

  updateReport(report, settings) {
    setText(this.found, report?.found ?? "");
    const tokens = report?.tokens;
    setText(
      this.tokens,
      tokens
        ? facts(
            `median ${count(tokens.median)}`,
            `p95 ${count(tokens.p95)}`,
            `longest ${count(tokens.max)}`,
            `limit ${count(report.max_length)}`,
          )
        : "–",
    );
    const epochs = settings.epochs ?? 3;
    setText(
      this.cost,
      tokens
        ? facts(
            counted(report.good_rows, "row"),
            `${count(tokens.total)} tokens, ${count(tokens.learned)} learned`,
            counted(epochs, "epoch"),
          )
        : "Point to a dataset",
    );
  }

  updateStart(report) {
    const job = this.model.get("job_id");
    toggle(this.watch, job > 0);
    setText(this.watch.firstChild, `Watch job ${job}`);
    this.watch.disabled = !hasNotebook();
    this.watch.title = this.watch.disabled
      ? `npu.Monitor(${job}) shows it: there is no notebook here`
      : "";
    const reason = this.starting
      ? "The job is being started"
      : !report
        ? "The dataset is not checked yet"
        : !report.good_rows
          ? "No row can be used"
          : report.bad_rows && !this.model.get("leave_out")
            ? "Rows need attention: leave them out, or mend the file"
            : "";
    this.startButton.disabled = Boolean(reason);
    this.startButton.title = reason;
  }

  start() {
    for (const name of ["model", "dataset", "suffix", "settings", "leave_out", "job_id"])
      this.model.on(`change:${name}`, () => this.update());
    this.refresh();
    return () => {
      clearTimeout(this.timer);
      this.checking?.abort();
    };
  }
}

/** Make the line below a field that says what is wrong with it. */
function problem(input) {
  const id = `npu-${Math.random().toString(36).slice(2)}`;
  input.setAttribute("aria-describedby", id);
  return h("div", { class: "npu-problem", id, role: "alert" });
}

export default () => {
  let server;
  return {
    initialize({ model }) {
      server = new Server(model);
    },
    render({ model, el }) {
      return new FormView(el, model, server).start();
    },
  };
};
