// Pieces that the live figures share. Each program stands behind them in a block of its own.
"use strict";
const make = (tag, parent, properties = {}, text = "") => {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
};
const draw = (tag, parent, attributes = {}, text = "") => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
};
const written = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212").replace(/^\u2212(0\.?0*)$/, "$1");
// A slider with its name before and its value behind it.
const slider = (parent, name, range, told, moved) => {
  const label = make("label", parent, { className: "live-slider" });
  make("span", label, {}, name);
  const input = make("input", label, { type: "range", min: range.min, max: range.max, step: range.step, value: range.value });
  const output = make("output", label);
  const tell = () => {
    output.textContent = told(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => { tell(); moved(); });
  tell();
  return { input, get value() { return Number(input.value); }, set value(v) { input.value = v; tell(); } };
};
// A square picture of [-reach, reach] in both directions, y upwards, with a caption above.
const plane = (parent, title, reach, size = 300) => {
  const figure = make("figure", parent, { className: "live-plane" });
  make("figcaption", figure, {}, title);
  const image = draw("svg", figure, { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": title });
  const at = ([x, y]) => [(size * (1 + x / reach)) / 2, (size * (1 - y / reach)) / 2];
  const path = (points, closed = false) => {
    const along = points.map((p) => at(p).map((v) => v.toFixed(1)).join(" "));
    return along.length ? `M${along.join("L")}${closed ? "Z" : ""}` : "";
  };
  const back = (event) => {
    const box = image.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 - 1, y = 1 - ((event.clientY - box.top) / box.height) * 2;
    return [x * reach, y * reach];
  };
  const line = (kind) => draw("path", image, { class: kind });
  return { image, at, path, back, line };
};
const circle = Array.from({ length: 73 }, (_, k) => [Math.cos((k * Math.PI) / 36), Math.sin((k * Math.PI) / 36)]);
const apply = (M, [x, y]) => [M[0][0] * x + M[0][1] * y, M[1][0] * x + M[1][1] * y];
// Eigenvalues, larger first, and the angle of the first eigenvector of a symmetric matrix.
const symmetric = ([[a, b], [, c]]) => {
  const middle = (a + c) / 2, half = Math.hypot((a - c) / 2, b);
  return { values: [middle + half, middle - half], angle: Math.atan2(2 * b, a - c) / 2 };
};
