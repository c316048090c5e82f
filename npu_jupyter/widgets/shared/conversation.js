/**
 * A conversation as a tree: each turn names the one before it, so that an edited message or
 * another answer is a branch, and nothing is lost. The kernel holds it; this page writes it.
 */

import { follow } from "./answer.js";

const SAVE_EVERY_MS = 1000;
const GO_ON = "Continue exactly where you stopped.";
const FIRST_TRY_S = 2;
const LAST_TRY_S = 30;

export class Conversation extends EventTarget {
  constructor(model, server) {
    super();
    this.model = model;
    this.server = server;
    this.live = null;
    this.away = null;
    this.turns = copied(model.get("turns"));
    model.on("change:turns", () => this.taken());
    model.on("change:leaf", () => this.tell("structure"));
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /** Take what the kernel or another page wrote; the answer that comes in here stays ours. */
  taken() {
    const theirs = copied(this.model.get("turns"));
    const live = this.live?.turn;
    this.turns = live ? theirs.map((turn) => (turn.id === live.id ? live : turn)) : theirs;
    this.tell("structure");
  }

  find(id) {
    return this.turns.find((turn) => turn.id === id) ?? null;
  }

  /** The turns from the first to the chosen last one. */
  get path() {
    const path = [];
    for (let turn = this.find(this.model.get("leaf")); turn; turn = this.find(turn.parent))
      path.unshift(turn);
    return path;
  }

  /** The branches that begin where `turn` does, itself among them. */
  siblings(turn) {
    return this.turns.filter((other) => other.parent === turn.parent && other.role === turn.role);
  }

  /** Show the branch that begins at `turn`, with what came last in it. */
  choose(turn) {
    let last = turn;
    for (let next = last; next; next = this.turns.findLast((other) => other.parent === last.id))
      last = next;
    this.model.set("leaf", last.id);
    this.save();
    this.tell("structure");
  }

  add(role, content, parent) {
    const turn = { id: Math.random().toString(36).slice(2, 10), parent, role, content };
    this.turns.push(turn);
    this.model.set("leaf", turn.id);
    return turn;
  }

  /** Say something after the last turn, and have it answered. */
  send(text) {
    return this.resend(this.path.at(-1)?.id ?? null, text);
  }

  /** Say something after the turn `parent`: an edited message begins a branch there. */
  resend(parent, text) {
    return this.answer(this.add("user", text, parent).id);
  }

  /** Have the turn `parent` answered, once more if it was before. */
  answer(parent) {
    const turn = this.add("assistant", "", parent);
    turn.model = this.model.get("model");
    return this.run(turn, this.messages(turn));
  }

  /** Go on with an answer that was cut. */
  goOn(turn) {
    const messages = [...this.messages(turn), said(turn), { role: "user", content: GO_ON }];
    delete turn.finish_reason;
    delete turn.error;
    return this.run(turn, messages);
  }

  messages(turn) {
    const path = this.path;
    const before = path.slice(0, path.indexOf(turn));
    const system = this.model.get("system");
    return [...(system ? [{ role: "system", content: system }] : []), ...before.map(said)];
  }

  async run(turn, messages) {
    if (this.live) return;
    const abort = new AbortController();
    this.live = { turn, abort };
    this.save();
    this.tell("structure");
    const saving = setInterval(() => this.save(), SAVE_EVERY_MS);
    const request = { ...this.model.get("settings"), model: turn.model, messages };
    await follow(this.server, request, turn, abort.signal, () => this.tell("delta"));
    clearInterval(saving);
    this.live = null;
    if (turn.away) this.lost();
    delete turn.away;
    this.save();
    this.tell("structure");
    this.tell("answered");
  }

  /** End the answer that comes in; what came is kept. */
  stop() {
    this.live?.abort.abort();
  }

  /** Begin anew; what was said stays in the tree. */
  begin() {
    this.stop();
    this.model.set("leaf", "");
    this.save();
    this.tell("structure");
  }

  save() {
    const turns = this.turns.map(({ waiting, ...kept }) => kept);
    this.model.set("turns", turns);
    this.model.save_changes();
  }

  /** Try again and again to reach a server that was lost. */
  lost() {
    if (this.away) return;
    this.away = { since: Date.now() / 1000, wait: FIRST_TRY_S, left: FIRST_TRY_S };
    this.away.timer = setInterval(() => {
      this.away.left -= 1;
      if (this.away.left <= 0) this.tryAgain();
      else this.tell("away");
    }, 1000);
    this.tell("away");
  }

  async tryAgain() {
    const { away } = this;
    if (!away) return;
    away.wait = Math.min(2 * away.wait, LAST_TRY_S);
    away.left = away.wait;
    try {
      await this.server.ask("GET", "health");
    } catch {
      this.tell("away");
      return;
    }
    clearInterval(away.timer);
    this.away = null;
    this.tell("away");
    this.tell("back");
  }
}

function copied(turns) {
  return turns.map((turn) => ({ ...turn }));
}

function said(turn) {
  return { role: turn.role, content: turn.content };
}
