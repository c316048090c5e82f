/** Numbers and times as people read them. */

export const UNKNOWN = "–";

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Say a number with thousands apart. */
export function count(number) {
  return number === null || number === undefined ? UNKNOWN : number.toLocaleString("en-US");
}

/** Say a number with its noun: "1 row", "2 rows". */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Say bytes in the largest unit that keeps a digit before the point. */
export function bytes(number) {
  if (number === null || number === undefined) return UNKNOWN;
  let unit = 0;
  let value = number;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 99.5 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Say a span of seconds: "8 s", "1 min 35 s", "2 h 5 min". */
export function seconds(span) {
  const whole = Math.max(0, Math.round(span));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  const minutes = Math.floor((whole % 3600) / 60);
  return `${Math.floor(whole / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
}

/** Say the time of day of a Unix time in seconds. */
export function timeOfDay(unix, withSeconds = false) {
  const parts = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) parts.second = "2-digit";
  return new Date(unix * 1000).toLocaleTimeString("en-GB", parts);
}

/** Say how long ago a Unix time in seconds was. */
export function ago(unix) {
  if (!unix) return UNKNOWN;
  const minutes = Math.floor((Date.now() / 1000 - unix) / 60);
  if (minutes < 1) return "now";
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

/** Say a place in line: "next", "2nd". */
export function ordinal(number) {
  const ending = { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th";
  return `${number}${number % 100 >= 11 && number % 100 <= 13 ? "th" : ending}`;
}

/** Join facts, leaving out what is empty. */
export function facts(...parts) {
  return parts.filter(Boolean).join(" · ");
}

/** Shorten a name in its middle, so that the part after the colon stays. */
export function shortened(name, length = 36) {
  if (name.length <= length) return name;
  const tail = Math.ceil(length / 2);
  return `${name.slice(0, length - tail - 1)}…${name.slice(-tail)}`;
}

function milliseconds(span) {
  return span < 1000 ? `${Math.round(span)} ms` : `${(span / 1000).toFixed(1)} s`;
}

/** Say what an answer cost: speed, time to the first token, tokens. */
export function speed(turn) {
  const enough = turn.completion_tokens >= 8 && turn.tokens_per_second;
  return facts(
    enough ? `${turn.tokens_per_second.toFixed(1)} tok/s` : "",
    turn.first_token_ms ? `first token ${milliseconds(turn.first_token_ms)}` : "",
    turn.completion_tokens ? counted(turn.completion_tokens, "token") : "",
  );
}
