// A decoder in the reader's browser: image, Jacobian and J'J at a latent chosen by sliders.
// Decoders are fully connected with SiLU; `models` is written by `seams.live`.
(() => {
  "use strict";
  const root = document.getElementById("seams-live");
  const data = JSON.parse(document.getElementById("seams-live-models").textContent);
  const RANGE = 2.5; // of a slider, in prior standard deviations
  const ACTIVE = 0.01; // variance of the posterior mean from which a latent counts as active
  const SCALE = 10; // screen pixels to an image pixel

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const numbers = ({ values, scale }) => Float32Array.from(new Int16Array(bytes(values)), (v) => v * scale);
  const models = data.models.map((m) => ({
    ...m,
    layers: m.layers.map((l) => ({ weight: numbers(l.weight), bias: numbers(l.bias) })),
  }));

  // W x, and W T for each of the tangents T.
  const linear = ({ weight, bias }, x, tangents) => {
    const outputs = bias.length, inputs = x.length;
    const times = (v, start) => {
      const y = new Float32Array(outputs);
      for (let i = 0, k = 0; i < outputs; i++) {
        let sum = start ? start[i] : 0;
        for (let j = 0; j < inputs; j++, k++) sum += weight[k] * v[j];
        y[i] = sum;
      }
      return y;
    };
    return [times(x, bias), tangents.map((t) => times(t, null))];
  };
  const silu = (x, tangents) => {
    const gate = x.map((v) => 1 / (1 + Math.exp(-v)));
    const slope = gate.map((g, i) => g * (1 + x[i] * (1 - g)));
    return [x.map((v, i) => v * gate[i]), tangents.map((t) => t.map((v, i) => v * slope[i]))];
  };
  // Mean image and columns of its Jacobian, columns in the order of `order`.
  const decode = (model, z) => {
    let x = Float32Array.from(z);
    let tangents = model.order.map((j) => Float32Array.from(z, (_, i) => (i === j ? 1 : 0)));
    model.layers.forEach((layer, i) => {
      if (i) [x, tangents] = silu(x, tangents);
      [x, tangents] = linear(layer, x, tangents);
    });
    return [x, tangents];
  };

  const make = (tag, parent, properties = {}, text = "") => {
    const node = document.createElement(tag);
    Object.assign(node, properties);
    if (text) node.textContent = text;
    parent.append(node);
    return node;
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
  const betas = [...new Set(models.map((m) => m.beta))].sort((a, b) => a - b);
  let beta = betas.reduce((a, b) => (Math.abs(Math.log(b)) < Math.abs(Math.log(a)) ? b : a));
  const position = Array(latents).fill(0); // by rank of activity, the same for all models

  const controls = make("div", root, { className: "live-controls" });
  const chooser = make("fieldset", controls);
  make("legend", chooser, {}, "β of both models");
  for (const value of betas) {
    const label = make("label", chooser);
    const radio = make("input", label, { type: "radio", name: "live-beta", checked: value === beta });
    label.append(` ${value}`);
    radio.addEventListener("change", () => { beta = value; draw(); });
  }
  const buttons = make("div", controls, { className: "live-buttons" });
  const button = (text, choose) =>
    make("button", buttons, { type: "button" }, text).addEventListener("click", () => {
      sliders.forEach((slider, k) => { slider.value = position[k] = choose(k); });
      draw();
    });
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const clip = (v) => Math.max(-RANGE, Math.min(RANGE, v));
  button("Draw from the prior", () => clip(normal()));
  button("Back to the origin", () => 0);
  const board = make("div", root, { className: "live-sliders" });
  const sliders = position.map((_, k) => {
    const label = make("label", board, {}, `z, ${k + 1}. in activity`);
    const slider = make("input", label, { type: "range", min: -RANGE, max: RANGE, step: 0.05, value: 0 });
    slider.addEventListener("input", () => { position[k] = Number(slider.value); draw(); });
    return slider;
  });

  const panels = make("div", root, { className: "live-panels" });
  const views = ["diagonal", "full"].map((kind) => {
    const side = Math.sqrt(models[0].layers.at(-1).bias.length);
    const panel = make("section", panels, { className: `live-${kind}` });
    make("h3", panel, {}, `${kind[0].toUpperCase()}${kind.slice(1)} posterior`);
    const row = make("div", panel, { className: "live-row" });
    const image = canvas(row, side, side * SCALE, `Image decoded with a ${kind} posterior`);
    const gram = canvas(row, latents, side * SCALE, `J transposed J, ${kind} posterior`);
    const told = make("p", panel, { className: "live-told" });
    told.setAttribute("aria-live", "polite");
    const columns = make("div", panel, { className: "live-columns" });
    const tiles = position.map((_, k) =>
      canvas(columns, side, side * 4, `Change of the image with latent ${k + 1}, ${kind} posterior`));
    return { kind, side, image, gram, told, tiles };
  });

  const draw = () => {
    for (const view of views) {
      const model = models.find((m) => m.covariance === view.kind && m.beta === beta);
      const z = Array(latents).fill(0);
      model.order.forEach((j, k) => { z[j] = position[k]; });
      const [x, columns] = decode(model, z);
      paint(view.image, view.side, (i) => grey(x[i]));
      const product = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
      const M = columns.map((a) => columns.map((b) => Math.abs(product(a, b))));
      const active = model.order.map((j) => model.activity[j] > ACTIVE);
      const share = (i, j) => M[i][j] / Math.sqrt(M[i][i] * M[j][j]);
      paint(view.gram, latents, (k) => {
        const i = Math.floor(k / latents), j = k % latents;
        return active[i] && active[j] ? mix(WHITE, DARK, share(i, j)) : [228, 226, 220];
      });
      const largest = Math.max(...columns.flatMap((c) => [...c].map(Math.abs)));
      view.tiles.forEach((tile, k) => {
        tile.style.opacity = active[k] ? 1 : 0.35;
        paint(tile, view.side, (i) => diverging(columns[k][i] / largest));
      });
      const used = active.flatMap((a, k) => (a ? [k] : []));
      const pairs = used.flatMap((i) => used.filter((j) => j !== i).map((j) => share(i, j)));
      const score = pairs.reduce((a, b) => a + b, 0) / pairs.length;
      view.told.textContent = pairs.length
        ? `Normalised off-diagonal of J'J here: ${score.toFixed(2)}; ${used.length} active latents`
        : `${used.length} active latents: no off-diagonal`;
    }
  };
  draw();
})();
