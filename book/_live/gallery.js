// Traversals under one slider: every latent of every model at the same position of its range.
// The images are one PNG, a row for each latent; `seams.paper.gallery` writes it into the page.
const root = document.currentScript.previousElementSibling;
const data = JSON.parse(root.querySelector("script").textContent);
const TILE = 64; // screen pixels, rounded down to a whole multiple of an image
const FRAME = 220; // milliseconds a step while it plays
const ACTIVE = 0.01; // variance of the posterior mean from which a latent counts as active

const size = data.side * Math.max(1, Math.floor(TILE / data.side));
const groups = [...new Set(data.panels.map((panel) => panel.group))];
const positions = Array.from({ length: data.steps }, (_, k) =>
  data.low + ((data.high - data.low) * k) / (data.steps - 1));
let group = groups.at(-1);

const controls = make("div", root, { className: "live-controls" });
if (groups.length > 1) {
  const chooser = make("fieldset", controls);
  make("legend", chooser, {}, "Models");
  const name = `gallery-${document.querySelectorAll(".gallery").length}`;
  for (const value of groups) {
    const label = make("label", chooser);
    const radio = make("input", label, { type: "radio", name, checked: value === group });
    label.append(` ${value}`);
    radio.addEventListener("change", () => { group = value; show(); });
  }
}
const label = make("label", controls, { className: "gallery-slider" }, "Position of the latent ");
const control = make("input", label, {
  type: "range", min: 0, max: data.steps - 1, step: 1, value: Math.floor(data.steps / 2),
});
const output = make("output", label);
control.addEventListener("input", () => show());

const sheet = root.querySelector("img"); // at rest, and without scripts
root.style.setProperty("--sheet", `url(${sheet.src})`);
sheet.remove();
const panels = make("div", root, { className: "live-panels" });
let row = 0;
const shown = data.panels.map((panel) => {
  const section = make("section", panels);
  make("h3", section, {}, panel.name);
  const line = make("div", section, { className: "live-row" });
  const tiles = panel.activity.map((activity, k) => {
    const figure = make("figure", line, { className: "gallery-tile" });
    const tile = make("div", figure);
    tile.setAttribute("role", "img");
    tile.style.cssText = `width:${size}px;height:${size}px;image-rendering:pixelated;` +
      `background:var(--sheet) 0 0/${size * data.steps}px auto`;
    if (activity < ACTIVE) figure.style.opacity = 0.4;
    make("figcaption", figure, {}, `${k + 1}: ${activity}`);
    return { tile, row: row++, told: `${panel.name}, latent ${k + 1} in activity` };
  });
  return { panel, section, tiles };
});
if (data.note) make("p", root, { className: "live-told" }, data.note);

const show = () => {
  const step = Number(control.value), z = written(positions[step], 1);
  output.textContent = ` ${z}`;
  control.setAttribute("aria-valuetext", `${z} prior standard deviations`);
  for (const { panel, section, tiles } of shown) {
    section.hidden = panel.group !== group;
    for (const { tile, row, told } of tiles) {
      tile.style.backgroundPosition = `${-step * size}px ${-row * size}px`;
      tile.setAttribute("aria-label", `${told}, at ${z}`);
    }
  }
};

// Those who asked their system for less motion get no animation.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const button = make("button", controls, { type: "button" }, "Play");
  let timer = 0, direction = 1;
  button.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = 0; } else {
      timer = setInterval(() => {
        const step = Number(control.value);
        if (step + direction < 0 || step + direction >= data.steps) direction = -direction;
        control.value = step + direction;
        show();
      }, FRAME);
    }
    button.textContent = timer ? "Stop" : "Play";
    button.setAttribute("aria-pressed", String(Boolean(timer)));
  });
}
show();
