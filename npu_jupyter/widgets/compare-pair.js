/** One prompt with the answers of two models beside each other. */

import { insertButton } from "./shared/cells.js";
import { markDifferences } from "./shared/diff.js";
import { button, copyButton, h, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { renderMarkdown } from "./shared/markdown.js";
import { inLine, loadCard } from "./shared/waiting.js";
import { facts, speed } from "./shared/words.js";

export const VOTES = [
  ["left", "Left"],
  ["same", "Same"],
  ["right", "Right"],
];

/** Whether both answers of a pair are there. */
export function answered(pair) {
  return ["left", "right"].every((side) => ["stop", "length"].includes(pair[side]?.finish_reason));
}

/** Whether both say the same. */
export function agrees(pair) {
  return pair.left.content.trim() === pair.right.content.trim();
}

export class PairView {
  constructor(pair, state) {
    this.state = state;
    this.pair = pair;
    this.place = h("span", { class: "npu-faint npu-number" });
    this.prompt = h("span", { class: "npu-prompt" });
    this.verdict = h("span", { class: "npu-badge", hidden: true });
    const head = h("div", { class: "npu-pair-head" }, this.place, this.prompt, this.verdict);
    this.sides = { left: new SideView("left", this), right: new SideView("right", this) };
    const columns = h(
      "div",
      { class: "npu-columns" },
      this.sides.left.element,
      this.sides.right.element,
    );
    this.element = h("section", { class: "npu-pair", tabindex: "-1" }, head, columns, this.vote());
  }

  vote() {
    const name = `npu-vote-${Math.random().toString(36).slice(2)}`;
    this.radios = VOTES.map(([value, word]) => {
      const input = h("input", {
        type: "radio",
        name,
        value,
        change: () => this.state.vote(this.pair.id, value),
      });
      return h("label", {}, input, h("span", {}, word));
    });
    const group = h(
      "span",
      { class: "npu-segments", role: "radiogroup", "aria-label": "Which is better?" },
      this.radios,
    );
    const kept = h("span", { class: "npu-faint" }, "kept in ", h("code", {}, "compare.results"));
    this.ballot = h(
      "div",
      { class: "npu-row npu-ballot", hidden: true },
      "Which is better?",
      group,
      kept,
    );
    return this.ballot;
  }

  update(pair, number, total) {
    this.pair = pair;
    setText(this.place, `${number} of ${total}`);
    setText(this.prompt, pair.prompt);
    for (const side of ["left", "right"])
      this.sides[side].update(
        pair[side],
        this.state.model.get(`${side}_model`),
        this.state.live.has(pair.id + side),
      );
    const done = answered(pair);
    const key = done ? pair.left.content + "\n" + pair.right.content : "";
    if (key !== this.marked) this.judge(done, pair);
    this.marked = key;
    toggle(this.verdict, done);
    toggle(this.ballot, done);
    for (const label of this.radios)
      label.firstChild.checked = label.firstChild.value === pair.vote;
  }

  judge(done, pair) {
    if (!done) return;
    for (const side of Object.values(this.sides)) side.redraw();
    const same = agrees(pair);
    const part = markDifferences(this.sides.left.text, this.sides.right.text);
    const share = part === null ? "" : `${Math.round(100 * part)} % of words shared`;
    this.verdict.replaceChildren(
      icon(same ? "equal" : "unequal", same ? "" : "npu-warn"),
      same ? "Agreed · same text" : facts("Different", share),
    );
    this.state.shared(pair.id, part);
  }
}

class SideView {
  constructor(side, pair) {
    this.pair = pair;
    this.side = side;
    this.name = h("div", { class: "npu-side-name" });
    this.load = loadCard();
    this.text = h("div", { class: "npu-side-text" });
    this.failure = h("div", { class: "npu-failure", role: "alert", hidden: true });
    const content = () => this.turn?.content ?? "";
    this.again = button("regenerate", "Regenerate", () => pair.state.run(pair.pair.id, [side]), {
      kind: "npu-quiet",
      show: false,
    });
    const copy = copyButton(content, { show: false });
    const insert = insertButton("markdown", content, { show: false });
    this.print = h("span", { class: "npu-print npu-number" });
    this.bar = h(
      "div",
      { class: "npu-row" },
      copy,
      this.again,
      insert,
      h("span", { class: "npu-space" }),
      this.print,
    );
    this.element = h(
      "div",
      { class: `npu-side npu-side-${side}`, role: "group" },
      this.name,
      this.load.element,
      this.text,
      this.failure,
      this.bar,
    );
  }

  update(turn, picked, live) {
    this.turn = turn;
    const model = turn?.model ?? picked;
    setText(this.name, model);
    this.element.setAttribute("aria-label", `${this.side === "left" ? "Left" : "Right"}: ${model}`);
    this.element.setAttribute("aria-busy", String(live));
    this.load.show(model, live ? turn?.waiting : null);
    if ((turn?.content ?? "") !== this.shown) this.draw();
    const failed = turn?.finish_reason === "error" && turn.error;
    toggle(this.failure, Boolean(failed));
    if (failed)
      setText(
        this.failure,
        `${turn.error.message}${turn.error.kept ? " The text above is kept." : ""}`,
      );
    this.again.disabled = live;
    toggle(this.bar, Boolean(turn));
    const ending = { length: `stopped at ${turn?.completion_tokens} tokens`, stopped: "stopped" }[
      turn?.finish_reason
    ];
    setText(this.print, turn ? facts(live ? inLine(turn.waiting) : ending, speed(turn)) : "");
  }

  draw() {
    this.shown = this.turn?.content ?? "";
    renderMarkdown(this.text, this.shown);
  }

  /** Draw the text anew, without the marks of an earlier pair. */
  redraw() {
    this.text.npuBlocks = [];
    this.text.replaceChildren();
    this.draw();
  }
}
