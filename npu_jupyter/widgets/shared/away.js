/** One line that says that the server is away, since when, and when it is tried again. */

import { button, h, setText, toggle } from "./dom.js";
import { icon } from "./icons.js";

/** Make the line; `show` takes its words, or nothing when the server is there. */
export function awayLine(tryNow) {
  const words = h("span");
  const element = h(
    "div",
    { class: "npu-away", role: "status", hidden: true },
    icon("away", "npu-warn"),
    words,
    h("span", { class: "npu-space" }),
    button(null, "Try now", tryNow, { kind: "npu-link" }),
  );
  const show = (text) => {
    toggle(element, Boolean(text));
    if (text) setText(words, text);
  };
  return { element, show };
}
