/** A fine-tuning job as this page knows it: read from the server again and again. */

import { Watch } from "./shared/watch.js";

const LOOK_EVERY_MS = 1000;
const LOOK_AGAIN_MS = 10000;

export const OVER = ["completed", "failed", "stopped"];

export class JobState extends EventTarget {
  constructor(server, id, ended) {
    super();
    this.server = server;
    this.id = id;
    this.ended = ended;
    this.job = null;
    this.refused = null;
    this.clear();
    this.watch = new Watch(() => this.look(), {
      everyMs: LOOK_EVERY_MS,
      changed: () => this.tell(),
    });
  }

  clear() {
    this.after = 0;
    this.metrics = [];
    this.samples = [];
    this.checkpoints = [];
    this.log = [];
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  get over() {
    return OVER.includes(this.job?.status);
  }

  async look() {
    try {
      this.take(await this.server.ask("GET", `api/finetune/status/${this.id}?after=${this.after}`));
      this.refused = null;
    } catch (error) {
      if (error.away) throw error;
      this.refused = error.message;
    }
    this.watch.everyMs = this.over || this.refused ? LOOK_AGAIN_MS : LOOK_EVERY_MS;
  }

  /** Add what is new since the last look. */
  take(job) {
    const wasOver = this.over;
    this.job = job;
    for (const kind of ["metrics", "samples", "checkpoints", "log"]) this[kind].push(...job[kind]);
    this.after = job.last_event_id ?? this.after;
    if (this.over && !wasOver) this.ended();
  }

  async act(method, path) {
    this.refused = null;
    try {
      await this.server.ask(method, path, method === "POST" ? {} : undefined);
    } catch (error) {
      this.refused = error.message;
      this.tell();
      return;
    }
    await this.watch.now();
  }

  stop() {
    return this.act("POST", `api/finetune/stop/${this.id}`);
  }

  resume() {
    return this.act("POST", `api/finetune/resume/${this.id}`);
  }
}

/** Smooth losses as TensorBoard does, without its bias at the start. */
export function smoothed(points, weight) {
  let last = 0;
  let parts = 0;
  return points.map(({ x, y }) => {
    if (y === null || !Number.isFinite(y)) return { x, y: null };
    last = weight * last + (1 - weight) * y;
    parts = weight * parts + (1 - weight);
    return { x, y: last / parts };
  });
}

/** Give a measure by step; where a resumed run began again there is a gap. */
export function curve(metrics, name) {
  const points = [];
  for (const metric of metrics) {
    if (metric[name] === undefined || metric[name] === null) continue;
    const back = points.findIndex((point) => point.x >= metric.step);
    if (back >= 0) points.splice(back, points.length - back, { x: metric.step, y: null });
    points.push({ x: metric.step, y: metric[name] });
  }
  return points;
}
