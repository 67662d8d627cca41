// A linear VAE at its optimum (Eq. 3) with its latents turned by R: posteriors, images of the axes, loss.
const root = document.currentScript.previousElementSibling;
root.replaceChildren(); // what was there at rest
const FIRST = 4, NOISE = 0.3; // eigenvalue of the data, variance of the noise
const SD = 2; // of the ellipses, in standard deviations
const controls = make("div", root, { className: "live-controls" });
const degrees = (v) => `${written(v, 0)}°`;
const turn = slider(controls, "turn the latents by θ", { min: -90, max: 90, step: 1, value: 30 }, degrees, () => show());
const second = slider(controls, "second eigenvalue λ₂ (first: 4)", { min: 0.5, max: 4, step: 0.1, value: 1.2 }, (v) => written(v, 1), () => show());
const button = make("button", controls, { type: "button" }, "Let it settle");
const panels = make("div", root, { className: "live-panels live-three" });

const latent = plane(panels, "Latents: prior, posteriors of one image", 1.25);
draw("path", latent.image, { class: "line-faint", d: latent.path([[-2, 0], [2, 0]]) + latent.path([[0, -2], [0, 2]]) });
const full = latent.line("line-full"), diagonal = latent.line("line-diagonal");
const data = plane(panels, "Data, and the images of the latent axes", 4.6);
const cloud = data.line("line-dotted"), axes = [data.line("line-axis"), data.line("line-axis")];
const loss = plane(panels, "Loss above the best, nats, against θ", 1);
draw("path", loss.image, { class: "line-full", d: loss.path([[-0.9, -0.8], [0.9, -0.8]]) });
const curve = loss.line("line-diagonal");
const dots = ["fill-full", "fill-diagonal"].map((kind) => draw("circle", loss.image, { class: kind, r: 6 }));
const told = make("p", root, { className: "live-told" });
told.setAttribute("aria-live", "polite");

const state = (theta, lambda) => {
  const c = Math.cos(theta), s = Math.sin(theta);
  const R = [[c, -s], [s, c]]; // D = S R, so that V is the transpose of R
  const S = [FIRST, lambda].map((v) => Math.sqrt(Math.max(0, v - NOISE)));
  const D = R.map((row, i) => row.map((v) => S[i] * v));
  const precision = [0, 1].map((i) => [0, 1].map((j) => (i === j) + (D[0][i] * D[0][j] + D[1][i] * D[1][j]) / NOISE));
  const [[a, b], [, d]] = precision, det = a * d - b * b;
  const Sigma = [[d / det, -b / det], [-b / det, a / det]];
  const gap = 0.5 * Math.log((a * d) / det);
  const best = 0.5 * (2 * Math.log(2 * Math.PI) + Math.log(FIRST * lambda) + 2);
  return { D, Sigma, shrunk: [1 / a, 1 / d], gap, best };
};
const show = () => {
  const theta = (turn.value * Math.PI) / 180, lambda = second.value;
  const { D, Sigma, shrunk, gap, best } = state(theta, lambda);
  const { values, angle } = symmetric(Sigma), c = Math.cos(angle), s = Math.sin(angle);
  const [r0, r1] = values.map((v) => SD * Math.sqrt(v));
  full.setAttribute("d", latent.path(circle.map(([x, y]) => [c * r0 * x - s * r1 * y, s * r0 * x + c * r1 * y]), true));
  diagonal.setAttribute("d", latent.path(circle.map(([x, y]) => [SD * Math.sqrt(shrunk[0]) * x, SD * Math.sqrt(shrunk[1]) * y]), true));
  cloud.setAttribute("d", data.path(circle.map(([x, y]) => [SD * Math.sqrt(FIRST) * x, SD * Math.sqrt(lambda) * y]), true));
  axes.forEach((line, j) => line.setAttribute("d", data.path([-SD, SD].map((t) => [t * D[0][j], t * D[1][j]]))));
  const largest = 0.5 * Math.log(1 + (FIRST - 0.5) ** 2 / (4 * FIRST * 0.5)); // of all λ₂ on the slider
  const place = (degree, value) => [(0.9 * degree) / 90, -0.8 + 1.6 * (value / largest)];
  curve.setAttribute("d", loss.path(Array.from({ length: 91 }, (_, k) => place(2 * k - 90, state(((2 * k - 90) * Math.PI) / 180, lambda).gap))));
  [0, gap].forEach((value, k) => {
    const [x, y] = loss.at(place(turn.value, value));
    dots[k].setAttribute("cx", x);
    dots[k].setAttribute("cy", y);
  });
  const matrix = (M) => `[${M.map((row) => row.map((v) => written(v)).join(", ")).join("; ")}]`;
  const V = [[Math.cos(theta), Math.sin(theta)], [-Math.sin(theta), Math.cos(theta)]];
  told.textContent = `V = ${matrix(V)}; Σ, full = ${matrix(Sigma)}; Σ, diagonal = ${shrunk.map((v) => written(v)).join(", ")}. ` +
    `Loss: full ${written(best, 3)}, diagonal ${written(best + gap, 3)} nats.`;
};
// Gradient descent of the diagonal posterior's loss over θ, as in alignment; a full one stays.
let timer = 0;
button.addEventListener("click", () => {
  clearInterval(timer);
  timer = setInterval(() => {
    const slope = (d) => state(((turn.value + d) * Math.PI) / 180, second.value).gap;
    const step = Math.max(-4, Math.min(4, -40 * (slope(0.5) - slope(-0.5))));
    if (Math.abs(step) < 0.02) clearInterval(timer);
    turn.value = Math.abs(step) < 1 ? turn.value - Math.sign(slope(0.5) - slope(-0.5)) : turn.value + step;
    if (slope(1) >= slope(0) && slope(-1) >= slope(0)) clearInterval(timer);
    show();
  }, 60);
});
show();
