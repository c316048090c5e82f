/** What the check of a dataset found: bad rows by number, and rows as the model reads them. */

import { button, h, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { count, counted, facts } from "./shared/words.js";

export class CheckView {
  constructor(form) {
    this.form = form;
    this.at = 0;
    this.head = h("div", { class: "npu-row npu-check-head", role: "status" });
    this.again = button("regenerate", "Check again", () => form.check(0), { kind: "npu-quiet" });
    this.rows = h("ul", { class: "npu-bad-rows" });
    this.choice = this.leaveOut();
    this.warnings = h("div", { class: "npu-faint npu-warnings" });
    const head = h(
      "div",
      { class: "npu-row" },
      this.head,
      h("span", { class: "npu-space" }),
      this.again,
    );
    this.card = h(
      "div",
      { class: "npu-check", hidden: true },
      head,
      this.rows,
      this.choice,
      this.warnings,
    );
    this.preview = this.previewBox();
    this.element = h("div", {}, this.card, this.preview);
  }

  leaveOut() {
    const name = `npu-${Math.random().toString(36).slice(2)}`;
    const radio = (value) =>
      h("input", { type: "radio", name, change: () => this.form.set("leave_out", value) });
    [this.out, this.wait] = [radio(true), radio(false)];
    this.outWords = h("span");
    return h(
      "div",
      { class: "npu-row npu-choice", role: "radiogroup", "aria-label": "Rows that cannot be used" },
      h("label", {}, this.out, this.outWords),
      h("label", {}, this.wait, "Wait until the file is fixed"),
    );
  }

  previewBox() {
    this.place = h("span", { class: "npu-faint npu-number" });
    const turn = (by) => () => {
      this.at += by;
      this.showRow();
    };
    this.before = button("left", "Earlier row", turn(-1), { kind: "npu-quiet", show: false });
    this.after = button("right", "Next row", turn(1), { kind: "npu-quiet", show: false });
    const keys = h(
      "span",
      { class: "npu-row npu-faint", "aria-hidden": "true" },
      h("span", { class: "npu-learned" }, "learned"),
      h("span", { class: "npu-read" }, "read only"),
    );
    const head = h(
      "div",
      { class: "npu-row" },
      h("strong", {}, "What is learned"),
      keys,
      h("span", { class: "npu-space" }),
      this.place,
      this.before,
      this.after,
    );
    this.text = h("div", {
      class: "npu-row-text",
      tabindex: "0",
      role: "group",
      "aria-label": "A row as the model reads it",
    });
    this.counts = h("div", { class: "npu-row-counts npu-faint npu-number" });
    return h(
      "section",
      { class: "npu-preview", hidden: true, "aria-label": "What is learned" },
      head,
      h("div", { class: "npu-row-frame" }, this.text, this.counts),
    );
  }

  /** Say that a check is under way; what the last one found stays. */
  checking() {
    toggle(this.card, true);
    this.head.replaceChildren(icon("ring", "npu-brand"), "Checking every row");
  }

  failed(message) {
    toggle(this.card, true);
    for (const part of [this.rows, this.choice, this.warnings, this.preview]) toggle(part, false);
    this.head.replaceChildren(icon("cross", "npu-bad"), h("span", { role: "alert" }, message));
  }

  /** Show nothing: there is no dataset to check. */
  clear() {
    for (const part of [this.card, this.preview]) toggle(part, false);
  }

  show(report) {
    const bad = report.bad_rows;
    toggle(this.card, true);
    const sign = bad ? icon("triangle", "npu-warn") : icon("tick", "npu-good");
    this.head.replaceChildren(
      sign,
      h("strong", {}, counted(report.rows, "row")),
      bad ? ` · ${count(bad)} need attention` : " · all can be used",
    );
    this.rows.replaceChildren(...report.reasons.map((reason) => this.reason(reason, report.unit)));
    toggle(this.rows, bad > 0);
    toggle(this.choice, bad > 0 && report.good_rows > 0);
    setText(this.outWords, `Leave them out, go on with ${counted(report.good_rows, "row")}`);
    const cut = report.cut_rows
      ? `${counted(report.cut_rows, "row")} longer than ${count(report.max_length)} tokens, cut`
      : "";
    const twice = report.duplicates ? `${counted(report.duplicates, "row")} said before` : "";
    setText(this.warnings, [facts(cut, twice), ...report.warnings].filter(Boolean).join(". "));
    toggle(this.warnings, this.warnings.textContent !== "");
    this.report = report;
    toggle(this.preview, report.preview.length > 0);
    this.showRow();
  }

  reason({ reason, count: number, lines }, unit) {
    const named = lines.slice(0, 5).join(", ");
    const more = number > 5 ? ` and ${count(number - 5)} more` : "";
    return h(
      "li",
      {},
      h("code", {}, `${unit}${number === 1 ? "" : "s"} ${named}${more}`),
      h("span", {}, reason),
    );
  }

  showRow() {
    const rows = this.report.preview;
    if (!rows.length) return;
    this.at = Math.max(0, Math.min(this.at, rows.length - 1));
    const row = rows[this.at];
    setText(this.place, `${this.report.unit} ${row.line}, ${this.at + 1} of ${rows.length} shown`);
    this.before.disabled = this.at === 0;
    this.after.disabled = this.at === rows.length - 1;
    const spoken = (word) => h("span", { class: "npu-unseen" }, word);
    this.text.replaceChildren(
      ...row.segments.flatMap(({ text, learned }) => [
        spoken(learned ? " learned: " : " read only: "),
        h("span", { class: learned ? "npu-learned" : "npu-read" }, text),
      ]),
    );
    setText(
      this.counts,
      facts(
        counted(row.tokens, "token"),
        `${count(row.learned_tokens)} learned`,
        row.cut_tokens ? `${count(row.cut_tokens)} cut off` : "",
      ),
    );
  }

  update(leaveOut) {
    this.out.checked = leaveOut;
    this.wait.checked = !leaveOut;
  }
}
