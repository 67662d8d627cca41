// Four maps from two latents to a surface, with C1 and C2 or without: paths and seams follow the pointer.
const root = document.currentScript.previousElementSibling;
root.replaceChildren(); // what was there at rest
const REACH = 2.2; // of the latents shown, in prior standard deviations
const STEP = 0.04, STEPS = 150; // of a path, in units of the latents
const H = 1e-4, H2 = 1e-3; // of differences: for J, and for the change of its singular values

const warped = (z, scale, warp) => scale * (z + warp * Math.log(Math.cosh(z)));
const sheet = ([a, b]) => {
  const u = warped(a, 1.6, 0.3), v = warped(b, 0.8, 0.3), radius = 1.5;
  return [radius * Math.asinh(u / radius), v, Math.hypot(radius, u) - radius];
};
const polar = ([a, b]) => {
  const bend = 0.25, radius = 1 / bend + a, angle = bend * 0.6 * b;
  return [radius * Math.sin(angle), radius * Math.cos(angle) - 1 / bend, 0];
};
const turned = ([a, b]) => {
  const c = Math.cos(Math.PI / 5), s = Math.sin(Math.PI / 5);
  return [1.6 * (c * a - s * b), 0.8 * (s * a + c * b), 0];
};
const twisted = ([a, b]) => {
  const angle = 0.25 * (a * a + b * b), c = Math.cos(angle), s = Math.sin(angle);
  return sheet([c * a - s * b, s * a + c * b]);
};
const maps = { "true,true": sheet, "true,false": polar, "false,true": turned, "false,false": twisted };
const names = { "true,true": "Two curves, each its own latent", "true,false": "Polar coordinates", "false,true": "A plane with turned latents", "false,false": "The curves with twisted latents" };

const jacobian = (map, z) => [0, 1].map((j) => {
  const side = (d) => map(z.map((v, k) => v + (k === j ? d : 0)));
  const more = side(H), less = side(-H);
  return more.map((v, k) => (v - less[k]) / (2 * H));
});
const gram = (map, z) => {
  const J = jacobian(map, z), dot = (a, b) => a.reduce((sum, v, k) => sum + v * b[k], 0);
  return [[dot(J[0], J[0]), dot(J[0], J[1])], [dot(J[1], J[0]), dot(J[1], J[1])]];
};
const values = (map, z) => symmetric(gram(map, z)).values.map((v) => Math.sqrt(Math.max(v, 0)));
// How far C1 and C2 are from holding: |cos| of the columns, and the share of ds_i/dz_j off the diagonal.
const violations = (map, z) => {
  const G = gram(map, z), { angle } = symmetric(G);
  const slopes = [0, 1].map((j) => {
    const side = (d) => values(map, z.map((v, k) => v + (k === j ? d : 0)));
    const more = side(H2), less = side(-H2);
    return more.map((v, i) => (v - less[i]) / (2 * H2)); // slopes[j][i]
  });
  const first = Math.abs(Math.cos(angle)) >= Math.abs(Math.sin(angle)) ? 0 : 1; // axis of the larger value
  const all = slopes.flat().reduce((sum, v) => sum + Math.abs(v), 0);
  const own = Math.abs(slopes[first][0]) + Math.abs(slopes[1 - first][1]);
  return [Math.abs(G[0][1]) / Math.sqrt(G[0][0] * G[1][1]), all < 1e-5 ? 0 : 1 - own / all];
};
// The path of the i-th right singular vector through z, both ways, by Runge's and Kutta's steps.
const along = (map, z, i) => {
  const way = (sign) => {
    let point = z, last = null;
    const direction = (p) => {
      const angle = symmetric(gram(map, p)).angle + (i * Math.PI) / 2;
      const v = [Math.cos(angle), Math.sin(angle)];
      const flip = last ? Math.sign(v[0] * last[0] + v[1] * last[1]) || 1 : sign;
      return v.map((x) => x * flip);
    };
    const points = [];
    for (let k = 0; k < STEPS && Math.hypot(...point) < 1.4 * REACH; k++) {
      const k1 = direction(point);
      last = k1;
      const shifted = (v, h) => point.map((p, j) => p + h * v[j]);
      const k2 = direction(shifted(k1, STEP / 2)), k3 = direction(shifted(k2, STEP / 2)), k4 = direction(shifted(k3, STEP));
      point = point.map((p, j) => p + (STEP / 6) * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]));
      points.push(point);
    }
    return points;
  };
  return [...way(-1).reverse(), z, ...way(1)];
};
const seen = ([x, y, height]) => [0.8 * x + 0.5 * y, 0.5 * y - 0.3 * x + 0.7 * height - 0.6];

let z = [0.9, 0.7];
const controls = make("div", root, { className: "live-controls" });
const switches = ["C1: orthogonal columns", "C2: each singular value its own latent"].map((name) => {
  const label = make("label", controls);
  const box = make("input", label, { type: "checkbox", checked: true });
  label.append(` ${name}`);
  box.addEventListener("change", () => { surface(); show(); });
  return box;
});
const panels = make("div", root, { className: "live-panels" });
const latent = plane(panels, "Latents: move the pointer, or the arrow keys", REACH);
latent.image.setAttribute("tabindex", 0);
draw("path", latent.image, { class: "line-faint", d: circle.length ? [0.5, 1, 1.5, 2].map((r) => latent.path(circle.map((p) => p.map((v) => r * v)), true)).join("") : "" });
const data = plane(panels, "Their image: seams dashed, traversals solid", 3.3);
const mesh = draw("g", data.image);
const lines = [latent, data].map((p) => ["line-axis", "line-axis", "line-path", "line-path"].map(p.line));
const points = [latent, data].map((p) => draw("circle", p.image, { class: "fill-text", r: 4 }));
const told = make("p", root, { className: "live-told" });
told.setAttribute("aria-live", "polite");
const chosen = () => switches.map((box) => box.checked).join();

const surface = () => {
  const map = maps[chosen()], cells = 22;
  mesh.replaceChildren();
  const at = (k) => REACH * ((2 * k) / cells - 1);
  for (let i = 0; i < cells; i++) for (let j = 0; j < cells; j++) {
    const middle = [at(i + 0.5), at(j + 0.5)];
    if (Math.hypot(...middle) > REACH) continue;
    const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]].map(([a, b]) => seen(map([at(a), at(b)])));
    const G = gram(map, middle), volume = Math.sqrt(G[0][0] * G[1][1] - G[0][1] ** 2);
    const density = Math.exp(-(middle[0] ** 2 + middle[1] ** 2) / 2) / volume; // over its largest, about 1
    draw("path", mesh, { class: "mesh", d: data.path(corners, true), "fill-opacity": (0.08 + 0.75 * Math.min(1, density)).toFixed(2) });
  }
};
const show = () => {
  const map = maps[chosen()];
  const straight = [0, 1].map((j) => Array.from({ length: 61 }, (_, k) => z.map((v, i) => (i === j ? REACH * (k / 30 - 1) : v))));
  const found = [...straight, along(map, z, 0), along(map, z, 1)];
  found.forEach((points, k) => {
    lines[0][k].setAttribute("d", latent.path(points));
    lines[1][k].setAttribute("d", data.path(points.map((p) => seen(map(p)))));
  });
  [latent.at(z), data.at(seen(map(z)))].forEach(([x, y], k) => {
    points[k].setAttribute("cx", x);
    points[k].setAttribute("cy", y);
  });
  const [c1, c2] = violations(map, z), s = values(map, z);
  told.textContent = `${names[chosen()]}, at z = (${z.map((v) => written(v)).join(", ")}): singular values ${s.map((v) => written(v)).join(" and ")}; ` +
    `violation of C1 ${written(c1)}, of C2 ${written(c2)}.`;
};
const move = (to) => {
  const length = Math.hypot(...to), most = 0.95 * REACH;
  z = length > most ? to.map((v) => (v * most) / length) : to;
  show();
};
latent.image.addEventListener("pointermove", (event) => move(latent.back(event)));
latent.image.addEventListener("pointerdown", (event) => move(latent.back(event)));
const ARROWS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
latent.image.addEventListener("keydown", (event) => {
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  move(z.map((v, k) => v + step[k]));
});
surface();
show();
