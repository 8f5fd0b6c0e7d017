// Ages that tick, and the notice that the connection is gone. htmx does everything else.
"use strict";

(() => {
  const LOST_AFTER = 2500; // milliseconds without the server's clock, which comes twice a second
  const OLD_AFTER = 3; // seconds, as in line.py
  let heardAt = performance.now();
  let offset = 0; // the server's clock minus this one: a wall screen may be set wrong

  document.addEventListener("htmx:sseMessage", (message) => {
    if (message.target.id !== "clock") return;
    heardAt = performance.now();
    offset = Date.parse(message.detail.data) - Date.now();
  });

  const format = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  };

  const tick = () => {
    const lost = performance.now() - heardAt > LOST_AFTER;
    document.body.classList.toggle("offline", lost);
    document.getElementById("offline").hidden = !lost;
    for (const element of document.querySelectorAll("[data-since]")) {
      const age = Math.max(0, (Date.now() + offset) / 1000 - Number(element.dataset.since));
      element.textContent = format(age);
      element.closest(".live")?.classList.toggle("old", age > OLD_AFTER);
    }
  };

  setInterval(tick, 500);
  document.addEventListener("htmx:sseMessage", tick); // a new fragment has no age yet
  tick();
})();
