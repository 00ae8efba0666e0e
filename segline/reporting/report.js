"use strict";

// Masks are drawn here from class indices, so that blending, showing one class and reading a pixel are exact.
const data = JSON.parse(document.getElementById("viewer-data").textContent);
const VOID = 255;
const WRONG = [220, 20, 60];
const element = Object.fromEntries(
  ["frame", "stage", "canvas", "outline", "image", "opacity", "blend", "zoom", "errors", "readout", "caption", "previous",
    "next", "whole", "closeup"] // the last two only where images were cut into tiles
    .map((id) => [id, document.getElementById(id)]),
);
const palette = Array.from({ length: 256 }, (_, k) => (data.classes[k] ? data.classes[k].rgb : data.void));
const legend = [...document.querySelectorAll("#legend button")];
const context = element.canvas.getContext("2d");
const layer = new OffscreenCanvas(1, 1);
let shown = null;
let close = false;
let only = null;
let request = 0;

async function inflate(view) {
  const bytes = Uint8Array.from(atob(view.labels), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const labels = new Uint8Array(await new Response(stream).arrayBuffer());
  const half = view.width * view.height;
  return { truth: labels.subarray(0, half), prediction: labels.subarray(half) };
}

async function choose(place) {
  const mine = ++request;
  const item = data.images[place];
  const view = (close && item.closeup) || item.whole;
  const photo = new Image();
  photo.src = view.photo;
  const [labels] = await Promise.all([inflate(view), photo.decode()]);
  if (mine !== request) return; // a later choice has overtaken this one
  shown = { ...view, photo, ...labels, overlay: new ImageData(view.width, view.height) };
  for (const target of [element.canvas, layer]) [target.width, target.height] = [view.width, view.height];
  element.frame.style.setProperty("--ratio", view.width / view.height);
  mark(item, view);
  element.image.value = String(place);
  element.previous.disabled = place === 0;
  element.next.disabled = place === data.images.length - 1;
  const group = item.group === null ? "" : `, group ${item.group}`;
  const part = view === item.closeup ? ", close-up" : "";
  element.caption.textContent =
    `${item.name}${group}: mIoU ${item.miou}, accuracy ${item.accuracy}, rank ${item.rank} of ${data.total}${part}`;
  document.querySelectorAll("[data-kind]").forEach((button) =>
    button.setAttribute("aria-pressed", String(button.dataset.kind === item.kind)));
  element.readout.textContent = "";
  draw();
}

function mark(item, view) {
  element.outline.hidden = item.outline === null || view !== item.whole;
  if (!element.outline.hidden) {
    const [top, bottom, left, right] = item.outline.map((share) => `${100 * share}%`);
    Object.assign(element.outline.style, { top, left, height: `calc(${bottom} - ${top})`, width: `calc(${right} - ${left})` });
  }
  if (element.closeup === null) return;
  element.closeup.disabled = item.closeup === null;
  element.whole.setAttribute("aria-pressed", String(view === item.whole));
  element.closeup.setAttribute("aria-pressed", String(view === item.closeup));
}

function approach(closer) {
  close = closer;
  choose(Number(element.image.value));
}

function draw() {
  if (shown === null) return;
  const opacity = Number(element.opacity.value) / 100;
  const blend = Number(element.blend.value) / 100;
  const marking = element.errors.checked;
  const pixels = shown.overlay.data;
  for (let i = 0; i < shown.truth.length; i += 1) {
    const truth = shown.truth[i];
    const prediction = shown.prediction[i];
    const wrong = marking && truth !== VOID && truth !== prediction;
    const visible = only === null || truth === only || prediction === only;
    const from = wrong ? WRONG : palette[truth];
    const to = wrong ? WRONG : palette[prediction];
    for (let c = 0; c < 3; c += 1) pixels[4 * i + c] = Math.round(from[c] + (to[c] - from[c]) * blend);
    pixels[4 * i + 3] = visible ? Math.round(255 * (wrong ? 1 : opacity)) : 0;
  }
  layer.getContext("2d").putImageData(shown.overlay, 0, 0);
  context.drawImage(shown.photo, 0, 0, shown.width, shown.height);
  context.drawImage(layer, 0, 0);
  const percents = { image: 1 - opacity, truth: opacity * (1 - blend), prediction: opacity * blend };
  const parts = Object.entries(percents).map(([name, part]) => `${name} ${Math.round(100 * part)} %`);
  element.canvas.setAttribute("aria-label", `${element.caption.textContent}. Shown: ${parts.join(", ")}`);
  for (const id of ["opacity", "blend"]) {
    document.getElementById(`${id}-value`).textContent = `${element[id].value} %`;
  }
  document.querySelectorAll("[data-opacity]").forEach((button) => {
    const same = button.dataset.opacity === element.opacity.value &&
      (button.dataset.opacity === "0" || button.dataset.blend === element.blend.value);
    button.setAttribute("aria-pressed", String(same));
  });
}

function zoom(x = element.frame.clientWidth / 2, y = element.frame.clientHeight / 2) {
  const { frame, stage } = element;
  const before = stage.clientWidth;
  const [left, top] = [frame.scrollLeft + x, frame.scrollTop + y];
  stage.style.width = `${100 * Number(element.zoom.value)}%`;
  const factor = stage.clientWidth / before;
  frame.scrollTo(left * factor - x, top * factor - y); // keep the point under (x, y) in place
  document.getElementById("zoom-value").textContent = `${element.zoom.value}x`;
}

function set(slider, value) {
  slider.value = String(value);
  slider.dispatchEvent(new Event("input"));
}

function show(button) {
  set(element.opacity, button.dataset.opacity);
  set(element.blend, button.dataset.blend);
}

function step(by) {
  const place = Number(element.image.value) + by;
  if (place >= 0 && place < data.images.length) choose(place);
}

function open(button) {
  choose(data.images.findIndex((item) => item.rank === Number(button.dataset.rank)));
}

function isolate(k) {
  only = only === k ? null : k;
  legend.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.class) === only)));
  draw();
}

function read(event) {
  if (shown === null) return;
  const box = element.canvas.getBoundingClientRect();
  const { width, height, left, top, step } = shown;
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const name = (k) => (k === VOID ? "void" : data.classes[k].name);
  const [truth, prediction] = [shown.truth[y * width + x], shown.prediction[y * width + x]];
  const verdict = truth === VOID ? "not scored" : truth === prediction ? "correct" : "wrong";
  const place = `x ${left + step * x}, y ${top + step * y}`; // of the working image
  element.readout.textContent = `${place}: truth ${name(truth)}, prediction ${name(prediction)} (${verdict})`;
}

for (const id of ["opacity", "blend"]) element[id].addEventListener("input", draw);
element.errors.addEventListener("change", draw);
element.zoom.addEventListener("input", () => zoom());
element.image.addEventListener("change", () => choose(Number(element.image.value)));
element.previous.addEventListener("click", () => step(-1));
element.next.addEventListener("click", () => step(1));
element.whole?.addEventListener("click", () => approach(false));
element.closeup?.addEventListener("click", () => approach(true));
legend.forEach((button) => button.addEventListener("click", () => isolate(Number(button.dataset.class))));
document.querySelectorAll("[data-opacity]").forEach((button) => button.addEventListener("click", () => show(button)));

document.querySelectorAll("[data-rank]").forEach((button) => button.addEventListener("click", () => {
  open(button);
  if (button.closest("figcaption")) document.getElementById("viewer").scrollIntoView();
}));

element.frame.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
  event.preventDefault();
  const box = element.frame.getBoundingClientRect();
  element.zoom.value = String(Number(element.zoom.value) - Math.sign(event.deltaY) * 0.5);
  zoom(event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

element.canvas.addEventListener("pointermove", (event) => {
  read(event);
  if (event.pointerType === "mouse" && event.buttons === 1) element.frame.scrollBy(-event.movementX, -event.movementY);
});
element.canvas.addEventListener("pointerdown", read);

const KEYS = {
  p: () => step(-1),
  n: () => step(1),
  e: () => element.errors.click(),
  c: () => (close ? element.whole : element.closeup)?.click(),
  "+": () => set(element.zoom, Number(element.zoom.value) + 1),
  "-": () => set(element.zoom, Number(element.zoom.value) - 1),
};
document.querySelectorAll("[data-opacity]").forEach((button, place) => { KEYS[place + 1] = () => show(button); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  KEYS[event.key]?.();
});

open(document.querySelector("[data-kind=median]") ?? document.querySelector("[data-rank]"));
