// Answer by a key, and draw boxes over the frame; the field of boxes holds the numbers.
"use strict";

(() => {
  // A second key, or click, before the next frame is shown would answer about this one again.
  let isSent = false;
  document.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  window.addEventListener("pageshow", () => { isSent = false; }); // also when the browser goes back

  document.addEventListener("keydown", (key) => {
    if (key.target.closest("input, select, textarea") || key.ctrlKey || key.altKey || key.metaKey || key.repeat) return;
    document.querySelector(`button[data-key="${CSS.escape(key.key.toLowerCase())}"]`)?.click();
  });

  const drawing = document.getElementById("drawing");
  const field = document.getElementById("boxes-field");
  if (!drawing || !field) return;
  const { width, height } = drawing.viewBox.baseVal;
  let start = null;
  let drawn = null;

  const addRectangle = ([x, y, w, h]) => {
    const rectangle = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) rectangle.setAttribute(name, value);
    drawing.append(rectangle);
  };
  const show = () => {
    drawing.replaceChildren();
    for (const text of field.value.split(";")) {
      const box = text.split(",").map(Number);
      if (box.length === 4 && box.every((number) => number >= 0) && text.trim()) addRectangle(box);
    }
    if (drawn) addRectangle(drawn);
  };
  const pointAt = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const within = (value, highest) => Math.round(Math.min(highest, Math.max(0, value)));
    return { x: within(point.x, width), y: within(point.y, height) };
  };

  drawing.addEventListener("pointerdown", (event) => {
    start = pointAt(event);
    drawing.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  drawing.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = pointAt(event);
    drawn = [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.abs(end.x - start.x), Math.abs(end.y - start.y)];
    show();
  });
  drawing.addEventListener("pointerup", () => {
    if (drawn && drawn[2] > 0 && drawn[3] > 0) {
      field.value = [field.value.trim().replace(/;$/, ""), drawn.join(",")].filter(Boolean).join("; ");
    }
    start = drawn = null;
    show();
  });
  drawing.addEventListener("pointercancel", () => {
    start = drawn = null;
    show();
  });
  field.addEventListener("input", show);
  show();
})();
