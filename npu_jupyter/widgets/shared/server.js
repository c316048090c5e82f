/**
 * Speaks to the server: straight from this page where the server is the page's own, so that
 * a kernel that is busy or gone stops nothing; else by way of the kernel.
 */

/** What the server refused, in its own words; `away` is set when it did not answer at all. */
export class ServerError extends Error {
  constructor(message, facts = {}) {
    super(message);
    this.code = facts.code ?? null;
    this.param = facts.param ?? null;
    this.status = facts.status ?? 0;
    this.retryAfter = facts.retryAfter ?? null;
    this.away = facts.away ?? false;
  }
}

function pageSettings() {
  const element = document.getElementById("jupyter-config-data");
  return element ? JSON.parse(element.textContent) : null;
}

async function* decoded(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** Opens requests by fetch, with the login of the page. */
class PageRoute {
  constructor(settings) {
    this.base = new URL(settings.baseUrl, location.origin);
    this.token = settings.token;
  }

  async open(method, path, body, signal) {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (this.token) headers.Authorization = `token ${this.token}`;
    const xsrf = document.cookie.match(/\b_xsrf=([^;]*)/);
    if (xsrf) headers["X-XSRFToken"] = xsrf[1];
    const options = { method, headers, body: JSON.stringify(body), signal, cache: "no-store" };
    const reply = await fetch(new URL(path, this.base), options);
    const retryAfter = reply.headers.get("Retry-After");
    return { status: reply.status, retryAfter, text: reply.body ? decoded(reply.body) : [] };
  }
}

/** Opens requests in the kernel, which sends back what the server says. */
class KernelRoute {
  constructor(model) {
    this.model = model;
    this.page = Math.random().toString(36).slice(2);
    this.opened = 0;
    this.takers = new Map();
    model.on("msg:custom", (message) => this.takers.get(message.id)?.(message));
  }

  async open(method, path, body, signal) {
    const id = `${this.page}-${(this.opened += 1)}`;
    const waiting = [];
    let wake = () => {};
    const take = (message) => {
      waiting.push(message);
      wake();
    };
    const next = async () => {
      while (!waiting.length) await new Promise((resolve) => (wake = resolve));
      const message = waiting.shift();
      if (message.failed) throw new TypeError(message.failed);
      return message;
    };
    const leave = () => take({ failed: "left" });
    const over = () => {
      this.takers.delete(id);
      signal?.removeEventListener("abort", leave);
    };
    const { model } = this;
    this.takers.set(id, take);
    signal?.addEventListener("abort", leave);
    this.model.send({ id, method, path, body: body ?? null });
    const head = await next().catch((error) => {
      model.send({ id, close: true });
      over();
      throw error;
    });
    async function* text() {
      let part = {};
      try {
        for (part = await next(); !part.end; part = await next()) yield part.text;
      } finally {
        if (!part.end) model.send({ id, close: true });
        over();
      }
    }
    return { status: head.status, retryAfter: head.retry_after, text: text() };
  }
}

async function whole(text) {
  const parts = [];
  for await (const part of text) parts.push(part);
  return parts.join("");
}

async function refusal(reply) {
  const text = await whole(reply.text);
  const retryAfter = reply.retryAfter ? Number(reply.retryAfter) : null;
  try {
    const error = JSON.parse(text).error;
    return new ServerError(error.message, { ...error, status: reply.status, retryAfter });
  } catch {
    return new ServerError(`The server answered ${reply.status}.`, { status: reply.status });
  }
}

function toEvent(block) {
  const event = { comment: null, id: null, data: null };
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) event.comment = line.slice(1).trim();
    else if (line.startsWith("id:")) event.id = Number(line.slice(3));
    else if (line.startsWith("data:")) event.data = line.slice(5).trim();
  }
  return event;
}

/** The server as widgets know it: HTTP, in two shapes. */
export class Server {
  constructor(model) {
    const settings = model.get("_route") === "page" ? pageSettings() : null;
    this.route = settings ? new PageRoute(settings) : new KernelRoute(model);
  }

  async open(method, path, body, signal) {
    let reply;
    try {
      reply = await this.route.open(method, path, body, signal);
    } catch (error) {
      throw this.lost(error, signal);
    }
    if (reply.status >= 400) throw await refusal(reply);
    return reply;
  }

  lost(error, signal) {
    if (error instanceof ServerError || signal?.aborted) return error;
    return new ServerError("The server does not respond.", { away: true });
  }

  /** Ask for JSON. */
  async ask(method, path, body, signal) {
    const reply = await this.open(method, path, body, signal);
    try {
      return JSON.parse(await whole(reply.text));
    } catch (error) {
      throw this.lost(error, signal);
    }
  }

  /** Follow server-sent events, comments among them; an error in the stream is thrown. */
  async *events(method, path, body, signal) {
    const reply = await this.open(method, path, body, signal);
    let rest = "";
    try {
      for await (const part of reply.text) {
        const blocks = (rest + part).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const event = toEvent(block);
          if (event.data === "[DONE]") return;
          const data = event.data === null ? null : JSON.parse(event.data);
          if (data?.error?.message) throw new ServerError(data.error.message, data.error);
          yield { ...event, data };
        }
      }
    } catch (error) {
      throw this.lost(error, signal);
    }
  }
}
