/** Prompts with the answers of two models: asked side by side, kept in the kernel. */

import { answered } from "./compare-pair.js";
import { follow } from "./shared/answer.js";

export const SIDES = ["left", "right"];

/** The pairs of answers; the kernel holds them, this page writes them. */
export class CompareState extends EventTarget {
  constructor(model, server) {
    super();
    this.model = model;
    this.server = server;
    this.live = new Map();
    this.pairs = copied(model.get("pairs"));
    model.on("change:pairs", () => this.taken());
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  taken() {
    const ours = new Map(this.pairs.map((pair) => [pair.id, pair]));
    this.pairs = copied(this.model.get("pairs"));
    for (const pair of this.pairs) {
      for (const side of SIDES)
        if (this.live.has(pair.id + side)) pair[side] = ours.get(pair.id)?.[side];
    }
    this.tell("change");
  }

  find(id) {
    return this.pairs.find((pair) => pair.id === id);
  }

  ask(prompt) {
    const id = Math.random().toString(36).slice(2, 10);
    this.pairs.push({ id, prompt, vote: null });
    return this.run(id, SIDES);
  }

  /** Have a prompt answered on both sides at once, or once more on one. */
  async run(id, sides) {
    this.find(id).vote = null;
    await Promise.all(sides.map((side) => this.answer(id, side)));
    this.save();
    this.tell("answered");
  }

  /** Answer the prompts that nobody answered yet, one after the other. */
  async runAll() {
    this.running = true;
    for (const { id } of this.pairs.filter((pair) => !answered(pair))) {
      if (this.running) await this.run(id, SIDES);
    }
    this.running = false;
    this.tell("change");
  }

  async answer(id, side) {
    const model = this.model.get(`${side}_model`);
    const turn = { model, content: "" };
    const abort = new AbortController();
    this.find(id)[side] = turn;
    this.live.set(id + side, abort);
    this.tell("change");
    const system = this.model.get("system");
    const messages = [
      ...(system ? [{ role: "system", content: system }] : []),
      { role: "user", content: this.find(id).prompt },
    ];
    const request = { ...this.model.get("settings"), model, messages };
    await follow(this.server, request, turn, abort.signal, () => this.tell("change"));
    this.find(id)[side] = turn;
    this.live.delete(id + side);
    this.tell("change");
  }

  stop() {
    this.running = false;
    for (const abort of this.live.values()) abort.abort();
  }

  vote(id, value) {
    this.find(id).vote = value;
    this.save();
    this.tell("change");
  }

  shared(id, part) {
    const pair = this.find(id);
    if (pair.shared_words === part) return;
    pair.shared_words = part;
    this.save();
  }

  save() {
    const kept = (turn) => (turn ? (({ waiting, away, ...rest }) => rest)(turn) : undefined);
    this.model.set(
      "pairs",
      this.pairs.map((pair) =>
        JSON.parse(JSON.stringify({ ...pair, left: kept(pair.left), right: kept(pair.right) })),
      ),
    );
    this.model.save_changes();
  }
}

function copied(pairs) {
  return pairs.map((pair) => ({ ...pair }));
}
