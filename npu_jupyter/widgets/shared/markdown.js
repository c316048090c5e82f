/**
 * Draws Markdown as elements, strictly: nothing is parsed as HTML, links lead to http, https and
 * mailto alone, and pictures become links, so that no answer makes the page fetch anything.
 */

import { copyButton, h } from "./dom.js";
import { highlight } from "./highlight.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?:\s+|$)(.*)$/;
const QUOTE = /^ {0,3}>\s?/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_DEPTH = 12;
const SAFE_LINK = /^(https?:\/\/|mailto:)/i;

/** Cut `text` into its top blocks, each `{kind, lines, …}`. */
export function blocks(text) {
  const lines = text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at);
    found.push(block);
    at += block.length;
  }
  return found;
}

function blockAt(lines, at) {
  const line = lines[at];
  const fence = line.match(FENCE);
  if (fence) return codeAt(lines, at, fence);
  const heading = line.match(HEADING);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2], length: 1 };
  if (RULE.test(line)) return { kind: "rule", length: 1 };
  if (QUOTE.test(line)) {
    const length = run(lines, at, (next) => QUOTE.test(next));
    const inner = lines.slice(at, at + length).map((next) => next.replace(QUOTE, ""));
    return { kind: "quote", text: inner.join("\n"), length };
  }
  if (ITEM.test(line)) return listAt(lines, at);
  if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "")) {
    const length = 2 + run(lines, at + 2, (next) => next.includes("|"));
    return { kind: "table", lines: lines.slice(at, at + length), length };
  }
  const length = 1 + run(lines, at + 1, (next) => next.trim() && !startsBlock(next));
  return { kind: "paragraph", text: lines.slice(at, at + length).join("\n"), length };
}

function startsBlock(line) {
  return (
    [FENCE, HEADING, RULE, QUOTE].some((start) => start.test(line)) ||
    /^ {0,3}([-*+]|1[.)])\s+\S/.test(line)
  );
}

function run(lines, from, goesOn) {
  let at = from;
  while (at < lines.length && goesOn(lines[at])) at += 1;
  return at - from;
}

function codeAt(lines, at, [, indent, mark, language]) {
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}\\s*$`);
  const inside = run(lines, at + 1, (line) => !closing.test(line));
  const closed = at + 1 + inside < lines.length;
  const code = lines
    .slice(at + 1, at + 1 + inside)
    .map((line) => withoutIndent(line, indent.length));
  const length = 1 + inside + (closed ? 1 : 0);
  return { kind: "code", language: language.toLowerCase(), text: code.join("\n"), closed, length };
}

function withoutIndent(line, width) {
  return line.replace(new RegExp(`^ {0,${width}}`), "");
}

function listAt(lines, at) {
  const [, indent, mark] = lines[at].match(ITEM);
  const ordered = /\d/.test(mark);
  const items = [];
  let next = at;
  while (next < lines.length) {
    const item = lines[next].match(ITEM);
    const same = item && item[1].length <= indent.length + 1 && /\d/.test(item[2]) === ordered;
    if (same && !RULE.test(lines[next])) {
      items.push([item[3]]);
      next += 1;
      continue;
    }
    const blank = !lines[next].trim();
    const deeper = /^ */.exec(lines[next])[0].length > indent.length;
    const after = blank ? (lines[next + 1] ?? "") : "";
    const goesOn = /^ {2,}\S/.test(after) || sameList(after, indent, ordered);
    if (!(deeper && !blank) && !(blank && goesOn) && (blank || startsBlock(lines[next]) || item))
      break;
    if (!blank && !deeper && !lines[next - 1].trim()) break;
    items.at(-1).push(lines[next]);
    next += 1;
  }
  const texts = items.map(([first, ...rest]) => [first, ...dedented(rest)].join("\n"));
  return {
    kind: "list",
    ordered,
    start: ordered ? parseInt(mark, 10) : null,
    items: texts,
    length: next - at,
  };
}

function sameList(line, indent, ordered) {
  const item = line.match(ITEM);
  return item && item[1].length <= indent.length + 1 && /\d/.test(item[2]) === ordered;
}

function dedented(lines) {
  const widths = lines.filter((line) => line.trim()).map((line) => /^ */.exec(line)[0].length);
  const width = widths.length ? Math.min(...widths) : 0;
  return lines.map((line) => line.slice(width));
}

const INLINE = new RegExp(
  [
    "(?<escape>\\\\[\\\\`*_{}\\[\\]()#+.!|~<>-])",
    "(?<ticks>`+)(?<code>[^]*?[^`])\\k<ticks>(?!`)",
    '(?<picture>!?)\\[(?<label>(?:[^\\[\\]]|\\[[^\\]]*\\])*)\\]\\((?<target>[^()\\s]*(?:\\([^()\\s]*\\)[^()\\s]*)*)(?:\\s+"[^"]*")?\\)',
    "(?<bare>https?://[^\\s<>()\\[\\]\"'`]*[^\\s<>()\\[\\]\"'`.,;:!?*_])",
    "\\*\\*(?=\\S)(?<strong>[^]*?\\S)\\*\\*(?!\\*)",
    "(?<![\\w])__(?=\\S)(?<strong2>[^]*?\\S)__(?!\\w)",
    "~~(?=\\S)(?<struck>[^]*?\\S)~~",
    "\\*(?=[^\\s*])(?<soft>[^*]*[^\\s*])\\*",
    "(?<![\\w])_(?=[^\\s_])(?<soft2>[^_]*[^\\s_])_(?!\\w)",
    "(?<turn>(?: {2,}|\\\\)\\n)",
  ].join("|"),
  "g",
);

/** Append a line's text with its emphasis, code and links. */
function inline(element, text, depth = 0) {
  if (depth >= MAX_DEPTH) {
    element.append(text);
    return element;
  }
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    element.append(text.slice(from, match.index), inlinePart(match, depth + 1));
    from = match.index + match[0].length;
  }
  element.append(text.slice(from));
  return element;
}

function inlinePart(match, depth) {
  const part = match.groups;
  if (part.escape) return part.escape.slice(1);
  if (part.code) return h("code", {}, part.code.replace(/\n/g, " ").replace(/^ (.*\S.*) $/, "$1"));
  if (part.bare) return link(part.bare, part.bare, depth);
  if (part.target !== undefined) return link(part.target, part.label || "picture", depth, match[0]);
  if (part.strong ?? part.strong2) return inline(h("strong"), part.strong ?? part.strong2, depth);
  if (part.struck) return inline(h("del"), part.struck, depth);
  if (part.soft ?? part.soft2) return inline(h("em"), part.soft ?? part.soft2, depth);
  return h("br");
}

function link(target, label, depth, source = label) {
  if (!SAFE_LINK.test(target)) return source;
  const anchor = h("a", { href: target, target: "_blank", rel: "noopener noreferrer" });
  return label === target ? (anchor.append(label), anchor) : inline(anchor, label, MAX_DEPTH);
}

function cells(line) {
  const inside = line
    .trim()
    .replace(/^\|/, "")
    .replace(/(?<!\\)\|$/, "");
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function table({ lines: [head, rule, ...rows] }) {
  const sides = cells(rule).map((cell) =>
    /:$/.test(cell) ? (/^:/.test(cell) ? "center" : "right") : "left",
  );
  const row = (line, tag) =>
    h(
      "tr",
      {},
      cells(line)
        .slice(0, sides.length)
        .map((cell, column) =>
          inline(
            h(tag, { style: `text-align:${sides[column]}`, scope: tag === "th" ? "col" : null }),
            cell,
          ),
        ),
    );
  const body = h(
    "tbody",
    {},
    rows.map((line) => row(line, "td")),
  );
  return h(
    "div",
    { class: "npu-table-frame" },
    h("table", {}, h("thead", {}, row(head, "th")), body),
  );
}

function code(block, tools) {
  const text = h("code");
  if (block.closed) highlight(text, block.text, block.language);
  else text.textContent = block.text;
  const head = h("div", { class: "npu-code-head" }, h("span", {}, block.language || "code"));
  head.append(
    h("span", { class: "npu-space" }),
    ...tools(block),
    copyButton(() => block.text),
  );
  return h(
    "div",
    { class: "npu-code" },
    head,
    h("pre", { tabindex: "0", "aria-label": "code" }, text),
  );
}

function drawn(block, tools, depth) {
  if (block.kind === "code") return code(block, tools);
  if (block.kind === "heading") return inline(h(`h${Math.min(6, block.level + 2)}`), block.text);
  if (block.kind === "rule") return h("hr");
  if (block.kind === "table") return table(block);
  if (block.kind === "quote") return into(h("blockquote"), block.text, tools, depth);
  if (block.kind === "list") {
    const list = h(block.ordered ? "ol" : "ul", { start: block.start });
    list.append(...block.items.map((item) => listItem(item, tools, depth)));
    return list;
  }
  return inline(h("p"), block.text);
}

function listItem(text, tools, depth) {
  const item = into(h("li"), text, tools, depth);
  const first = item.firstChild;
  if (first?.tagName === "P") first.replaceWith(...first.childNodes);
  return item;
}

function into(element, text, tools, depth) {
  if (depth === MAX_DEPTH) element.append(text);
  else element.append(...blocks(text).map((block) => drawn(block, tools, depth + 1)));
  return element;
}

/**
 * Draw `text` in `element`, again and again as it grows: only blocks that changed are drawn
 * anew, so that what is being read or selected stays. `tools` gives a code block's own buttons.
 */
export function renderMarkdown(element, text, tools = () => []) {
  element.classList.add("npu-markdown");
  const before = element.npuBlocks ?? [];
  const after = blocks(text).map((block) => ({ block, key: JSON.stringify(block) }));
  after.forEach((next, number) => {
    const old = before[number];
    if (old?.key === next.key) {
      next.node = old.node;
    } else if (old && grows(old.block, next.block)) {
      next.node = old.node;
      next.node
        .querySelector("code")
        .firstChild.appendData(next.block.text.slice(old.block.text.length));
    } else if (old && longer(old.block, next.block)) {
      next.node = old.node;
      patchList(next.node, old.block.items, next.block.items, tools);
    } else {
      next.node = drawn(next.block, tools, 0);
      if (old) old.node.replaceWith(next.node);
      else element.append(next.node);
    }
  });
  before.slice(after.length).forEach((old) => old.node.remove());
  element.npuBlocks = after;
}

function longer(old, next) {
  return (
    old.kind === "list" &&
    next.kind === "list" &&
    old.ordered === next.ordered &&
    old.start === next.start
  );
}

/** Draw only those items of a list anew that changed. */
function patchList(list, before, after, tools) {
  after.forEach((text, at) => {
    if (before[at] === text) return;
    const item = listItem(text, tools, 0);
    if (list.children[at]) list.children[at].replaceWith(item);
    else list.append(item);
  });
  while (list.children.length > after.length) list.lastElementChild.remove();
}

function grows(old, next) {
  const open = old.kind === "code" && next.kind === "code" && !old.closed && !next.closed;
  return open && old.text && old.language === next.language && next.text.startsWith(old.text);
}
