/** One answer of a model, as it comes: its text, what it waits for, and how fast it is. */

const DRAW_EVERY_MS = 33;

/** Understand the server's comments: a place in line, a stage of loading, the device. */
export function readNote(comment) {
  const queued = comment.match(/^queued (\d+)\/(\d+)$/);
  if (queued) return { kind: "queued", position: Number(queued[1]), of: Number(queued[2]) };
  const loading = comment.match(/^loading (\w+)(?: (\d+)%)?(?: about (\d+) s)?$/);
  if (loading) {
    const number = (text) => (text === undefined ? null : Number(text));
    return {
      kind: "loading",
      stage: loading[1],
      percent: number(loading[2]),
      eta: number(loading[3]),
    };
  }
  const running = comment.match(/^running on (.+)$/);
  return running ? { kind: "running", device: running[1] } : { kind: "waiting" };
}

/**
 * Ask for an answer and follow it into `turn`, whose fields are those of a message in a
 * DataFrame. `changed` is called at most 30 times a second.
 */
export async function follow(server, request, turn, signal, changed) {
  const began = performance.now();
  const before = turn.content;
  const clock = { firstAt: null };
  const draw = throttled(changed);
  const options = { include_usage: true, continuous_usage_stats: true };
  const body = { ...request, stream: true, stream_options: options };
  try {
    for await (const event of server.events("POST", "v1/chat/completions", body, signal)) {
      if (event.comment) note(turn, readNote(event.comment));
      if (event.data) take(event.data, turn, clock, began);
      draw();
    }
    turn.finish_reason ??= "stop";
  } catch (error) {
    if (signal.aborted) turn.finish_reason = "stopped";
    else fail(turn, error, turn.content.length > before.length);
  } finally {
    draw.stop();
    delete turn.waiting;
  }
}

function note(turn, said) {
  turn.waiting = said.kind === "running" ? undefined : said;
  if (said.device) turn.device = said.device;
}

function take(data, turn, clock, began) {
  const choice = data.choices[0];
  const text = choice?.delta?.content;
  if (text) {
    if (clock.firstAt === null) {
      clock.firstAt = performance.now();
      turn.first_token_ms = clock.firstAt - began;
      delete turn.waiting;
    }
    turn.content += text;
  }
  if (choice?.finish_reason) turn.finish_reason = choice.finish_reason;
  if (data.usage) count(data.usage, turn, clock);
}

function count(usage, turn, clock) {
  turn.prompt_tokens = usage.prompt_tokens;
  turn.completion_tokens = usage.completion_tokens;
  const seconds = (performance.now() - clock.firstAt) / 1000;
  if (clock.firstAt !== null && seconds > 0.05) {
    turn.tokens_per_second = (usage.completion_tokens - 1) / seconds;
  }
}

function fail(turn, error, kept) {
  turn.finish_reason = "error";
  turn.error = { message: error.message, code: error.code ?? null, kept };
  turn.away = Boolean(error.away);
}

/** Call `action` now or soon, at most every 33 ms: 30 times a second. */
function throttled(action) {
  let timer = null;
  let last = 0;
  const act = () => {
    timer = null;
    last = performance.now();
    action();
  };
  const draw = () => {
    timer ??= setTimeout(act, Math.max(0, last + DRAW_EVERY_MS - performance.now()));
  };
  draw.stop = () => clearTimeout(timer);
  return draw;
}
