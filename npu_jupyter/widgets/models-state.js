/** What the models widget knows: all that the server says of models, devices and imports. */

import { Watch } from "./shared/watch.js";

const LOOK_EVERY_MS = 2000;

export class ModelsState extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.models = [];
    this.loaded = new Map();
    this.devices = [];
    this.pulls = [];
    this.loads = new Map();
    this.failures = new Map();
    this.speeds = new Map();
    this.rates = new Map();
    this.watch = new Watch(() => this.look(), {
      everyMs: LOOK_EVERY_MS,
      changed: () => this.tell(),
    });
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }

  async look() {
    const ask = (path) => this.server.ask("GET", path);
    const [models, status, devices, pulls] = await Promise.all(
      ["v1/models", "v1/models/status", "api/npu/devices", "api/npu/pulls"].map(ask),
    );
    this.models = models.data;
    this.devices = devices.devices;
    this.measure(status.models);
    this.loaded = new Map(status.models.map((model) => [model.name, model]));
    this.time(pulls.pulls);
    this.pulls = pulls.pulls;
  }

  /** Tell each model's speed from what it wrote between two looks. */
  measure(models) {
    const now = performance.now();
    for (const model of models) {
      const before = this.speeds.get(model.name);
      const wrote = model.tokens_generated - (before?.tokens ?? model.tokens_generated);
      const speed = before && wrote > 0 ? (1000 * wrote) / (now - before.at) : null;
      const kept = speed ?? (model.requests_running ? before?.speed : null) ?? null;
      this.speeds.set(model.name, { tokens: model.tokens_generated, at: now, speed: kept });
    }
  }

  /** Tell how fast each download is, smoothed. */
  time(pulls) {
    const now = performance.now();
    for (const pull of pulls) {
      const before = this.rates.get(pull.id);
      const got = pull.done_bytes - (before?.bytes ?? pull.done_bytes);
      const rate = before && got > 0 ? (1000 * got) / (now - before.at) : 0;
      const smooth = before?.rate ? 0.7 * before.rate + 0.3 * rate : rate;
      this.rates.set(pull.id, { bytes: pull.done_bytes, at: now, rate: smooth });
    }
  }

  /** Load a model and follow its stages; a refusal is kept beside it. */
  async load(name, options = {}) {
    this.failures.delete(name);
    this.loads.set(name, { stage: "find", percent: null, eta: null });
    this.tell();
    try {
      const body = { name, stream: true, ...options };
      for await (const { data } of this.server.events("POST", "v1/models/load", body)) {
        if (data?.status !== "loading") continue;
        this.loads.set(name, { stage: data.stage, percent: data.percent, eta: data.eta_seconds });
        this.tell();
      }
    } catch (error) {
      this.failures.set(name, error.message);
    }
    this.loads.delete(name);
    await this.watch.now();
  }

  /** Send what changes something; a refusal is kept beside the model. */
  async change(name, method, path, body) {
    this.failures.delete(name);
    try {
      await this.server.ask(method, path, body);
    } catch (error) {
      this.failures.set(name, error.message);
    }
    await this.watch.now();
  }

  unload(name, force = false) {
    return this.change(name, "POST", "v1/models/unload", { name, force });
  }

  pin(name, pin) {
    return this.change(name, "POST", "v1/models/load", { name, pin });
  }

  remove(name) {
    return this.change(name, "DELETE", `api/npu/models/${encodeURIComponent(name)}`);
  }

  /** Begin to import a model; throws what the server refused. */
  async pull(source, name, precision) {
    const body = { source, ...(name ? { name } : {}), ...(precision ? { precision } : {}) };
    await this.server.ask("POST", "api/npu/models", body);
    await this.watch.now();
  }

  async cancel(pull) {
    await this.server.ask("DELETE", `api/npu/pulls/${pull.id}`).catch(() => {});
    await this.watch.now();
  }

  statusOf(model) {
    return this.loads.has(model.id) ? "loading" : model.npu.status;
  }
}
