/** Line icons, 16 px, in the colour of the text around them. */

const PATHS = {
  add: "M8 3v10M3 8h10",
  adapter: "M4 3v5a2 2 0 0 0 2 2h6M9.5 7.5 12 10l-2.5 2.5",
  away: "M6 3v3M10 3v3M4.5 6h7v2a3.5 3.5 0 0 1-7 0ZM8 11.5V14M2 2l12 12",
  cell: "M2 4l2 2-2 2M7 2.5h7v4H7ZM7 9.5h7v4H7Z",
  close: "M4 4l8 8M12 4l-8 8",
  columns: "M2 3h12v10H2ZM8 3v10",
  copy: "M6 6h7.5v7.5H6ZM3.5 10H2.5V2.5H10v1",
  cross: "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
  device:
    "M4.5 4.5h7v7h-7ZM6.5 6.5h3v3h-3ZM6 2v2M10 2v2M6 12v2M10 12v2M2 6h2M2 10h2M12 6h2M12 10h2",
  down: "M4 6l4 4 4-4",
  download: "M8 2v7M5 6.5 8 9.5l3-3M2.5 11v2.5h11V11",
  edit: "M3 13l.6-2.8L11 2.8l2.2 2.2-7.4 7.4ZM9.4 4.4l2.2 2.2",
  empty: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2Z",
  equal: "M3.5 6h9M3.5 10h9",
  left: "M10 4 6 8l4 4",
  moon: "M12.8 10A5.6 5.6 0 0 1 6 3.2 5.6 5.6 0 1 0 12.8 10Z",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  pin: "M5.5 2.5h5M6.5 2.5v4L4.5 9h7l-2-2.5v-4M8 9v5",
  play: "M5 3.5v9l7-4.5Z",
  regenerate: "M13 6.5A5.2 5.2 0 0 0 3.4 5M3 9.5A5.2 5.2 0 0 0 12.6 11M3.2 2.2V5H6M12.8 13.8V11H10",
  right: "M6 4l4 4-4 4",
  ring: "M8 2.2A5.8 5.8 0 1 1 2.2 8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.5 10.5 14 14",
  settings: "M2 4h6M12 4h2M2 8h2M8 8h6M2 12h7M13 12h1M10 2.5v3M6 6.5v3M11 10.5v3",
  stop: "M4 4h8v8H4Z",
  tick: "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8ZM5.2 8.2l2 2 3.6-4",
  triangle: "M8 2.2 14.5 13.5h-13ZM8 6.5v3.2M8 11.6v.01",
  unequal: "M3.5 6h9M3.5 10h9M10.5 3l-5 10",
};

const SVG = "http://www.w3.org/2000/svg";

/** Draw an icon; words beside it or a label on its button say what it means. */
export function icon(name, kind = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `npu-icon npu-icon-${name} ${kind}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
