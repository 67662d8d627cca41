// Training as a film: shots of one sheet, which `seams.paper.film` writes, two runs side by side.
const root = document.currentScript.previousElementSibling;
const data = JSON.parse(root.querySelector("script").textContent);
const sheet = root.querySelector("img");
const SCALE = 2; // screen pixels of one of the sheet
const FRAME = 900; // milliseconds a shot while it plays

const wide = data.latents * data.cell; // of J'J, and of the information
const width = Math.max(2 * wide, data.steps * data.side), height = wide + data.rows * data.side;
const groups = [...new Set(data.panels.map((panel) => panel.group))];
let group = groups.at(-1);
root.style.setProperty("--sheet", `url(${sheet.src})`);
sheet.remove();

const controls = make("div", root, { className: "live-controls" });
const chooser = make("fieldset", controls);
make("legend", chooser, {}, "Posterior");
for (const value of groups) {
  const label = make("label", chooser);
  const radio = make("input", label, { type: "radio", name: "film-group", checked: value === group });
  label.append(` ${value}`);
  radio.addEventListener("change", () => { group = value; show(); });
}
const frames = data.panels[0].frames;
const images = (k) => `${Math.round(frames[k].images / 1000)}k`;
const time = slider(controls, "training images", { min: 0, max: frames.length - 1, step: 1, value: 0 }, (k) => images(k), () => show());

// A window on the sheet; what lies in it is told to those who cannot see it.
const part = (parent, title, w, h) => {
  const figure = make("figure", parent, { className: "film-part" });
  figure.style.width = `${SCALE * w}px`;
  make("figcaption", figure, {}, title);
  const tile = make("div", figure);
  tile.setAttribute("role", "img");
  tile.style.cssText = `width:${SCALE * w}px;height:${SCALE * h}px;image-rendering:pixelated;` +
    `background:var(--sheet) 0 0/${SCALE * width * frames.length}px auto`;
  return tile;
};
const panels = make("div", root, { className: "live-panels" });
const shown = data.panels.map((panel, row) => {
  const section = make("section", panels);
  make("h3", section, {}, panel.name);
  const line = make("div", section, { className: "live-row" });
  const parts = [
    { tile: part(line, "JᵀJ", wide, wide), x: 0, y: 0, what: "J transposed J" },
    { tile: part(line, `Information about ${data.factors.join(", ")}`, wide, data.factors.length * data.cell), x: wide, y: 0, what: "Information" },
    { tile: part(line, "Latents moved, most active first", data.steps * data.side, data.rows * data.side), x: 0, y: wide, what: "Traversals" },
  ];
  const told = make("p", section, { className: "live-told" });
  return { panel, section, parts, told, row };
});
const show = () => {
  const k = time.value;
  for (const { panel, section, parts, told, row } of shown) {
    section.hidden = panel.group !== group;
    const { covariance, mig, off_diagonal_gram_of_abs_ratio: ratio, images } = panel.frames[k];
    section.className = `live-${covariance}`;
    for (const { tile, x, y, what } of parts) {
      tile.style.backgroundPosition = `${-SCALE * (k * width + x)}px ${-SCALE * (row * height + y)}px`;
      tile.setAttribute("aria-label", `${what}, ${panel.name}, after ${images} images`);
    }
    const score = (v) => (v === null ? "not defined" : written(v));
    told.textContent = `Posterior ${covariance}; MIG ${score(mig)}; JᵀJ over random axes ${score(ratio)}`;
  }
};
if (data.note) make("p", root, { className: "live-told" }, data.note);
// Those who asked their system for less motion get no animation.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const button = make("button", controls, { type: "button" }, "Play");
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; tell(); };
  const tell = () => {
    button.textContent = timer ? "Stop" : "Play";
    button.setAttribute("aria-pressed", String(Boolean(timer)));
  };
  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (time.value === frames.length - 1) time.value = 0;
    timer = setInterval(() => {
      time.value += 1;
      show();
      if (time.value === frames.length - 1) stop();
    }, FRAME);
    show();
    tell();
  });
}
show();
