// Two decoders in the reader's browser: image, Jacobian and J'J at a latent chosen by sliders.
// Affine and transposed convolutional layers with SiLU between; `seams.book.live` writes the models.
const root = document.currentScript.previousElementSibling.previousElementSibling;
root.replaceChildren(); // what was there at rest
const data = JSON.parse(document.currentScript.previousElementSibling.textContent);
const RANGE = 2.5; // of a slider, in prior standard deviations
const ACTIVE = 0.01; // variance of the posterior mean from which a latent counts as active
const START = 0.8; // of the sliders, in turn to either side
const WIDTH = 192, TILE = 68; // screen pixels of an image, and of a column
const H = 0.02; // of the differences of singular values, in prior standard deviations
const REST = 120; // milliseconds without a move until Jacobians are computed

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const numbers = ({ values, scale }) => Float32Array.from(new Int16Array(bytes(values)), (v) => v * scale);
const models = data.models.map((m) => ({
  ...m,
  layers: m.layers.map((l) => ({ shape: l.weight.shape, weight: numbers(l.weight), bias: numbers(l.bias) })),
  active: m.order.filter((j) => m.activity[j] > ACTIVE),
}));

// The layer applied to x; without its bias if x is a tangent.
const affine = ({ weight, bias }, x, tangent) => {
  const y = new Float32Array(bias.length);
  for (let i = 0, k = 0; i < y.length; i++) {
    let sum = tangent ? 0 : bias[i];
    for (let j = 0; j < x.length; j++, k++) sum += weight[k] * x[j];
    y[i] = sum;
  }
  return y;
};
// Kernel 4, stride 2, padding 1: twice the height and width; channels vary fastest.
const doubled = ({ taps, bias, shape: [inputs, outputs] }, x, tangent) => {
  const side = Math.sqrt(x.length / inputs), wide = 2 * side;
  const y = new Float32Array(outputs * wide * wide);
  if (!tangent) y.forEach((_, k) => { y[k] = bias[k % outputs]; });
  for (let i = 0, pixel = 0; i < side; i++) for (let j = 0; j < side; j++, pixel += inputs) {
    for (let tap = 0; tap < 16; tap++) {
      const row = 2 * i - 1 + (tap >> 2), column = 2 * j - 1 + (tap & 3);
      if (row < 0 || row >= wide || column < 0 || column >= wide) continue;
      const to = (row * wide + column) * outputs;
      for (let c = 0, k = tap * inputs * outputs; c < inputs; c++) {
        const v = x[pixel + c];
        for (let o = 0; o < outputs; o++, k++) y[to + o] += v * taps[k];
      }
    }
  }
  return y;
};
// Weights [in, out, 4, 4] with the place in the kernel first; images [channel, pixel] with the pixel first.
const turned = (values, rows) => {
  const columns = values.length / rows, to = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = values[i * columns + j];
  return to;
};
// Mean image, and the columns of its Jacobian that belong to the latents of `columns`.
const decode = (model, z, columns) => {
  let x = Float32Array.from(z);
  let tangents = columns.map((j) => Float32Array.from(z, (_, i) => (i === j ? 1 : 0)));
  model.layers.forEach((layer, n) => {
    if (n) {
      const gate = x.map((v) => 1 / (1 + Math.exp(-v)));
      const slope = gate.map((g, i) => g * (1 + x[i] * (1 - g)));
      x = x.map((v, i) => v * gate[i]);
      tangents = tangents.map((t) => t.map((v, i) => v * slope[i]));
    }
    const spread = layer.shape.length === 4, first = spread && model.layers[n - 1].shape.length === 2;
    if (spread) layer.taps ??= turned(layer.weight, layer.weight.length / 16);
    if (first) [x, ...tangents] = [x, ...tangents].map((v) => turned(v, layer.shape[0]));
    const through = spread ? doubled : affine;
    tangents = tangents.map((t) => through(layer, t, true));
    x = through(layer, x, false);
  });
  return [x, tangents];
};

// Singular values, larger first, and right singular vectors by Jacobi's rotations of J'J.
const singular = (columns) => {
  const n = columns.length, product = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const M = columns.map((a) => columns.map((b) => product(a, b)));
  const V = M.map((_, i) => M.map((_, j) => Number(i === j)));
  for (let sweep = 0; sweep < 12; sweep++) for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
    const angle = Math.atan2(2 * M[p][q], M[p][p] - M[q][q]) / 2, c = Math.cos(angle), s = Math.sin(angle);
    const turn = (row) => { [row[p], row[q]] = [c * row[p] + s * row[q], c * row[q] - s * row[p]]; };
    M.forEach(turn);
    V.forEach(turn);
    for (let k = 0; k < n; k++) [M[p][k], M[q][k]] = [c * M[p][k] + s * M[q][k], c * M[q][k] - s * M[p][k]];
  }
  const order = M.map((_, i) => i).sort((a, b) => M[b][b] - M[a][a]);
  return { s: order.map((i) => Math.sqrt(Math.max(0, M[i][i]))), V: V.map((row) => order.map((i) => row[i])) };
};
// Share of |ds_i/dz_j| off the diagonal, singular values given to the latents that they follow most.
const offDiagonal = (slopes, V) => {
  const n = V.length, pairs = V.flatMap((row, j) => row.map((v, i) => [Math.abs(v), i, j])).sort((a, b) => b[0] - a[0]);
  const owner = Array(n).fill(-1), taken = new Set();
  for (const [, i, j] of pairs) if (owner[i] < 0 && !taken.has(j)) { owner[i] = j; taken.add(j); }
  const total = slopes.flat().reduce((sum, v) => sum + Math.abs(v), 0);
  return 1 - owner.reduce((sum, j, i) => sum + Math.abs(slopes[j][i]), 0) / total; // slopes[j][i]
};

const paint = (canvas, side, colour) => {
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let i = 0; i < side * side; i++) image.data.set([...colour(i), 255], 4 * i);
  context.putImageData(image, 0, 0);
};
const canvas = (parent, side, width, label) => {
  const node = make("canvas", parent, { width: side, height: side });
  node.style.width = `${width}px`;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", label);
  return node;
};
const grey = (v) => Array(3).fill(255 * Math.min(1, Math.max(0, v)));
const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);
const WHITE = [250, 249, 246], RED = [178, 24, 43], BLUE = [33, 102, 172], DARK = [8, 48, 90];
const diverging = (v) => mix(WHITE, v > 0 ? RED : BLUE, Math.min(1, Math.abs(v)));

const latents = models[0].order.length;
const shown = Math.max(...models.map((m) => m.active.length)); // by rank of activity, the same for both
const start = Array.from({ length: shown }, (_, k) => (k % 2 ? -START : START));
const controls = make("div", root, { className: "live-controls" });
const buttons = make("div", controls, { className: "live-buttons" });
const button = (text, choose) =>
  make("button", buttons, { type: "button" }, text).addEventListener("click", () => {
    sliders.forEach((s, k) => { s.value = choose(k); });
    show();
  });
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
button("Draw from the prior", () => Math.max(-RANGE, Math.min(RANGE, normal())));
button("To the origin", () => 0);
button("Back to the start", (k) => start[k]);
make("button", buttons, { type: "button" }, "Measure C2 here").addEventListener("click", () => measure());
const board = make("div", root, { className: "live-sliders" });
const sliders = start.map((value, k) =>
  slider(board, `${k + 1}. latent`, { min: -RANGE, max: RANGE, step: 0.05, value }, (v) => written(v), () => show()));

const panels = make("div", root, { className: "live-panels" });
const side = Math.round(Math.sqrt(data.pixels));
const views = models.map((model) => {
  const kind = model.covariance;
  const panel = make("section", panels, { className: `live-${kind}` });
  make("h3", panel, {}, `${kind[0].toUpperCase()}${kind.slice(1)} posterior`);
  const row = make("div", panel, { className: "live-row" });
  const image = canvas(row, side, WIDTH, `Image decoded with a ${kind} posterior`);
  const gram = canvas(row, shown, WIDTH, `J transposed J, ${kind} posterior`);
  const told = make("p", panel, { className: "live-told" });
  told.setAttribute("aria-live", "polite");
  const second = make("p", panel, { className: "live-second" });
  const columns = make("div", panel, { className: "live-columns" });
  const tiles = model.active.map((_, k) => canvas(columns, side, TILE, `Change of the image with latent ${k + 1}, ${kind} posterior`));
  return { model, image, gram, told, second, tiles };
});

let timer = 0;
const point = (model) => {
  const z = Array(latents).fill(0);
  sliders.forEach((s, k) => { z[model.order[k]] = s.value; });
  return z;
};
const show = () => {
  for (const { model, image, second } of views) {
    second.textContent = "";
    const [x] = decode(model, point(model), []);
    paint(image, side, (i) => grey(x[i]));
  }
  clearTimeout(timer);
  timer = setTimeout(differentiate, REST);
};
const differentiate = () => {
  for (const view of views) {
    const { model } = view, used = model.active.length;
    const [, columns] = decode(model, point(model), model.active);
    const product = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
    const M = columns.map((a) => columns.map((b) => Math.abs(product(a, b))));
    const share = (i, j) => M[i][j] / Math.sqrt(M[i][i] * M[j][j]);
    paint(view.gram, shown, (k) => {
      const i = Math.floor(k / shown), j = k % shown;
      return i < used && j < used ? mix(WHITE, DARK, share(i, j)) : [228, 226, 220];
    });
    const largest = Math.max(...columns.map((c) => c.reduce((a, v) => Math.max(a, Math.abs(v)), 0)));
    view.tiles.forEach((tile, k) => paint(tile, side, (i) => diverging(columns[k][i] / largest)));
    const pairs = M.flatMap((row, i) => row.flatMap((_, j) => (i === j ? [] : [share(i, j)])));
    const score = pairs.reduce((a, b) => a + b, 0) / pairs.length;
    view.told.textContent = pairs.length
      ? `Normalised off-diagonal of J'J here: ${written(score)}; ${used} active latents`
      : `${used} active latents: no off-diagonal`;
  }
};
// Two Jacobians for each latent, one latent at a time, so that the page stays alive.
const measure = () => views.forEach(({ model, second }) => {
  const z = point(model), { active } = model, slopes = [];
  second.textContent = "Measuring…";
  const next = () => {
    if (second.textContent === "") return; // moved meanwhile
    if (slopes.length < active.length) {
      const values = (h) => singular(decode(model, z.map((v, k) => v + (k === active[slopes.length] ? h : 0)), active)[1]).s;
      const more = values(H), less = values(-H);
      slopes.push(more.map((v, i) => (v - less[i]) / (2 * H)));
      setTimeout(next, 0);
    } else {
      const { V } = singular(decode(model, z, active)[1]);
      second.textContent = `Violation of C2 here: ${written(offDiagonal(slopes, V))}`;
    }
  };
  setTimeout(next, 0);
});
show();
