/** Elements without innerHTML: what a model or a server says is only ever text. */

import { icon } from "./icons.js";

/** Make an element: functions become listeners, `true` an empty attribute, `false` none. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make a button of an icon and a word; without `show` the word is its label and tooltip. */
export function button(iconName, word, click, { kind = "", show = true, ...rest } = {}) {
  const label = show ? {} : { "aria-label": word, title: word };
  return h(
    "button",
    { type: "button", class: `npu-button ${kind}`, click, ...label, ...rest },
    iconName ? icon(iconName) : null,
    show ? h("span", { class: "npu-word" }, word) : null,
  );
}

/** Make a labelled field. */
export function field(label, input, hint = "") {
  return h(
    "label",
    { class: "npu-field" },
    h("span", {}, label),
    input,
    hint ? h("small", {}, hint) : null,
  );
}

/** Make a bar that says in words how far it is; null is unknown. */
export function progressBar(label) {
  const fill = h("div", { class: "npu-bar-fill" });
  const bar = h("div", { class: "npu-bar", role: "progressbar", "aria-label": label }, fill);
  bar.setAttribute("aria-valuemin", "0");
  bar.setAttribute("aria-valuemax", "100");
  const show = (percent, words) => {
    bar.classList.toggle("npu-bar-unknown", percent === null);
    if (percent === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(percent));
    bar.setAttribute("aria-valuetext", words);
    fill.style.width = percent === null ? "" : `${percent}%`;
  };
  return { bar, show };
}

/** Set an element's text only when it changed, so that live regions speak once. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide an element. */
export function toggle(element, shown) {
  element.hidden = !shown;
}

const ANNOUNCE_EVERY_MS = 5000;

/** Make a status line for screen readers that speaks at most every five seconds. */
export function announcer() {
  const element = h("div", { role: "status", class: "npu-unseen" });
  let timer = null;
  let next = "";
  let said = 0;
  const say = () => {
    timer = null;
    said = Date.now();
    setText(element, next);
  };
  const announce = (text) => {
    if (text === next) return;
    next = text;
    timer ??= setTimeout(say, Math.max(0, said + ANNOUNCE_EVERY_MS - Date.now()));
  };
  return { element, announce };
}

/** Copy text; pages without https have no clipboard of their own. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea", { class: "npu-unseen", value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Make a copy button that says when it has copied. */
export function copyButton(text, options = {}) {
  const made = button(
    "copy",
    "Copy",
    async () => {
      await copyText(text());
      made.classList.add("npu-done");
      made.title = "Copied";
      setTimeout(() => {
        made.classList.remove("npu-done");
        made.title = "Copy";
      }, 1500);
    },
    { kind: "npu-quiet", ...options },
  );
  return made;
}

/** Make the frame of a widget: a named region whose keys stay in it. */
export function region(element, name) {
  element.classList.add("npu-widget");
  element.setAttribute("role", "region");
  element.setAttribute("aria-label", name);
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.addEventListener("keydown", (event) => event.stopPropagation());
}
