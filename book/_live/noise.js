// Points on circles, the posteriors of a linear VAE for them, and what the best decoder makes of these.
const root = document.currentScript.previousElementSibling;
root.replaceChildren(); // what was there at rest
const OUTER = 10.5, INNER = 2.3, CIRCLES = 4, POINTS = 8; // as seams.data.synthetic.circles
const LAMBDA = (OUTER ** 2 + INNER ** 2) / 2; // variance along either axis
const points = Array.from({ length: CIRCLES * POINTS }, (_, k) => {
  const big = (2 * Math.PI * Math.floor(k / POINTS)) / CIRCLES, small = (2 * Math.PI * (k % POINTS)) / POINTS;
  return [OUTER * Math.cos(big) + INNER * Math.cos(small), OUTER * Math.sin(big) + INNER * Math.sin(small)];
});
// Posteriors in units of the data: mean kept * x, variance kept * beta.
const kept = (beta) => Math.max(0, 1 - beta / LAMBDA);
const decoded = (beta) => points.map((x) => {
  const weights = points.map((y) => Math.exp((-kept(beta) * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)) / (2 * beta)));
  const total = weights.reduce((a, b) => a + b, 0);
  return [0, 1].map((d) => points.reduce((sum, y, i) => sum + weights[i] * y[d], 0) / total);
});
const mean = (list) => [0, 1].map((d) => list.reduce((sum, p) => sum + p[d], 0) / list.length);
const spread = (list) => { const m = mean(list); return Math.sqrt(list.reduce((sum, p) => sum + (p[0] - m[0]) ** 2 + (p[1] - m[1]) ** 2, 0) / list.length); };
const groups = (list) => Array.from({ length: CIRCLES }, (_, c) => list.slice(c * POINTS, (c + 1) * POINTS));

const controls = make("div", root, { className: "live-controls" });
const beta = slider(controls, "β, with σ = 1", { min: -1, max: 2, step: 0.02, value: -0.26 }, (v) => written(10 ** v, 10 ** v < 10 ? 2 : 1), () => show());
const panels = make("div", root, { className: "live-panels" });
const data = plane(panels, "Points, and what is decoded at their latents", 15);
points.forEach((p) => { const [x, y] = data.at(p); draw("circle", data.image, { class: "fill-diagonal", cx: x, cy: y, r: 2.6 }); });
const red = points.map(() => draw("circle", data.image, { class: "fill-decoded", r: 3.4 }));
const rest = plane(panels, "Posteriors of all points, one standard deviation; dotted, the prior", 15);
const prior = rest.line("line-dotted");
prior.setAttribute("d", rest.path(circle.map((p) => p.map((v) => v * Math.sqrt(LAMBDA))), true));
const rings = points.map(() => rest.line("line-diagonal"));
const told = make("p", root, { className: "live-told" });
told.setAttribute("aria-live", "polite");
const show = () => {
  const b = 10 ** beta.value, found = decoded(b), k = kept(b);
  found.forEach((p, i) => { const [x, y] = data.at(p); red[i].setAttribute("cx", x); red[i].setAttribute("cy", y); });
  const radius = Math.sqrt(Math.min(b, LAMBDA)); // latents in units of the prior, times the spread of the data
  points.forEach((x, i) => {
    const centre = x.map((v) => v * Math.sqrt(k));
    rings[i].setAttribute("d", rest.path(circle.map((p) => p.map((v, d) => centre[d] + radius * v)), true));
  });
  const within = groups(found).reduce((sum, g) => sum + spread(g), 0) / CIRCLES / INNER;
  const between = spread(groups(found).map(mean)) / OUTER;
  const rate = k > 0 ? Math.log(LAMBDA / b) : 0;
  told.textContent = `Of a circle's size ${written(100 * within, 0)} % is left, of the distance of the circles ${written(100 * between, 0)} %; ` +
    `the posteriors say ${written(rate)} nats.`;
};
show();
