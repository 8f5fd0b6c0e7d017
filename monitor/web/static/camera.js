// Draw the region of interest over the picture, with the pointer or the arrow keys; the form holds the numbers.
"use strict";

(() => {
  const video = document.getElementById("video");
  const showProblem = () => {
    video.hidden = true;
    document.getElementById("no-video").hidden = false;
  };
  // Not before the page is loaded: it would count as loading until the first frame comes.
  if (video) {
    window.addEventListener("load", () => {
      video.addEventListener("error", showProblem);
      video.src = video.dataset.stream;
    });
  }

  const overlay = document.getElementById("overlay");
  const form = document.getElementById("tuning");
  if (!overlay || !form) return;
  const { width, height } = overlay.viewBox.baseVal;
  const read = (name) => Number(form.elements[name].value);
  const within = (value, lowest, highest) => Math.round(Math.min(highest, Math.max(lowest, value)));
  let start = null;

  const place = (x, y, w, h) => {
    const region = { x, y, width: w, height: h };
    for (const [name, field] of [["x", "x"], ["y", "y"], ["width", "w"], ["height", "h"]]) {
      form.elements[field].value = region[name];
      document.getElementById("roi")?.setAttribute(name, region[name]);
    }
  };
  const changed = () => form.dispatchEvent(new Event("change", { bubbles: true }));
  const pointAt = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(overlay.getScreenCTM().inverse());
    return { x: within(point.x, 0, width), y: within(point.y, 0, height) };
  };

  overlay.addEventListener("pointerdown", (event) => {
    start = pointAt(event);
    overlay.setPointerCapture(event.pointerId);
    event.preventDefault();
    overlay.focus();
  });
  overlay.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = pointAt(event);
    const [w, h] = [Math.abs(end.x - start.x), Math.abs(end.y - start.y)];
    if (w > 0 && h > 0) place(Math.min(start.x, end.x), Math.min(start.y, end.y), w, h);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    overlay.addEventListener(kind, () => {
      if (start) changed();
      start = null;
    });
  }
  // The answer brings region and tiles, unless the next region is being drawn already.
  document.addEventListener("htmx:afterSwap", (swap) => {
    const drawn = document.getElementById("drawn");
    if (swap.target.id !== "tuned" || !drawn) return;
    if (!start) overlay.replaceChildren(...drawn.childNodes);
    drawn.remove();
  });

  // Arrows move the region, with Shift they move its right and lower edge.
  overlay.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if ((dx === 0 && dy === 0) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const step = Math.max(1, Math.round(Math.max(width, height) / 100));
    const [x, y, w, h] = ["x", "y", "w", "h"].map(read);
    if (event.shiftKey) {
      place(x, y, within(w + dx * step, 1, width - x), within(h + dy * step, 1, height - y));
    } else {
      place(within(x + dx * step, 0, width - w), within(y + dy * step, 0, height - h), w, h);
    }
    changed();
  });
  form.addEventListener("reset", () => setTimeout(changed)); // the fields are reset after the event
})();
