// Answer by a key, and draw over the frame: boxes, whose numbers a field holds, and a mask with a brush.
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
    if (key.target.closest("input:not([type=range]), select, textarea") || key.ctrlKey || key.altKey || key.metaKey || key.repeat) return;
    document.querySelector(`button[data-key="${CSS.escape(key.key.toLowerCase())}"]`)?.click();
  });

  const drawing = document.getElementById("drawing");
  const field = document.getElementById("boxes-field");
  if (!drawing || !field) return;
  const { width, height } = drawing.viewBox.baseVal;
  const canvas = document.getElementById("painting");
  const painting = canvas.getContext("2d", { willReadFrequently: true });
  const size = document.getElementById("brush-size");
  const tools = document.querySelectorAll("[data-tool]");
  let tool = "box";
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

  const paint = (from, to) => {
    painting.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    painting.strokeStyle = "#ffe14d";
    painting.lineWidth = size.value;
    painting.lineCap = "round";
    painting.beginPath();
    painting.moveTo(from.x, from.y);
    painting.lineTo(to.x, to.y + 0.01); // a line without length is not drawn
    painting.stroke();
  };
  const maskText = () => {
    const image = painting.getImageData(0, 0, width, height);
    const pixels = new Uint32Array(image.data.buffer);
    let isBlank = true;
    for (let index = 0; index < pixels.length; index += 1) {
      const isPainted = pixels[index] >>> 24 > 127;
      pixels[index] = isPainted ? 0xffffffff : 0xff000000;
      isBlank &&= !isPainted;
    }
    if (isBlank) return "";
    const mask = Object.assign(document.createElement("canvas"), { width, height });
    mask.getContext("2d").putImageData(image, 0, 0);
    return mask.toDataURL("image/png").split(",")[1];
  };

  for (const button of tools) {
    button.addEventListener("click", () => {
      tool = button.dataset.tool;
      for (const each of tools) each.setAttribute("aria-pressed", String(each === button));
    });
  }
  document.getElementById("clear-drawing").addEventListener("click", () => {
    painting.clearRect(0, 0, width, height);
    field.value = "";
    show();
  });
  field.form.addEventListener("submit", (event) => {
    // Only a defect has a place.
    field.form.elements.mask.value = event.submitter?.value === "defect" ? maskText() : "";
  });
  drawing.addEventListener("pointerdown", (event) => {
    start = pointAt(event);
    if (tool !== "box") paint(start, start);
    drawing.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  drawing.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = pointAt(event);
    if (tool !== "box") {
      paint(start, end);
      start = end;
      return;
    }
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
