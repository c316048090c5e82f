/** Puts an answer into the notebook, where a notebook is: our JupyterLab extension does it. */

import { button } from "./dom.js";

const EVENT = "npu-jupyter:insert-cell";
const WHY_OFF = "Insert as cell: there is no notebook here";

/** Whether somebody listens: the extension marks the page. */
export function hasNotebook() {
  return document.documentElement.hasAttribute("data-npu-jupyter-cells");
}

/** Put `source` in a code cell below the one of `element`, and run it. */
export function runCell(element, source) {
  const detail = { type: "code", source, run: true };
  element.dispatchEvent(new CustomEvent(EVENT, { bubbles: true, detail }));
}

/** Make a button that puts `source()` in a cell of `type` below the one of the widget. */
export function insertButton(type, source, options = {}) {
  const insert = () => {
    const detail = { type, source: source() };
    made.dispatchEvent(new CustomEvent(EVENT, { bubbles: true, detail }));
  };
  const made = button("cell", "Insert as cell", insert, { kind: "npu-quiet", ...options });
  if (!hasNotebook()) {
    made.disabled = true;
    made.title = WHY_OFF;
  }
  return made;
}
