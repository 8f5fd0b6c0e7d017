// Ages that tick, the notice that the connection is gone, and arrow keys. htmx does everything else.
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
    const lost = performance.now() - heardAt > LOST_AFTER && !("unconnected" in document.body.dataset);
    document.body.classList.toggle("offline", lost);
    document.getElementById("offline").hidden = !lost;
    for (const element of document.querySelectorAll("[data-since]")) {
      const age = Math.max(0, (Date.now() + offset) / 1000 - Number(element.dataset.since));
      element.textContent = format(age);
      element.closest(".live")?.classList.toggle("old", age > OLD_AFTER);
    }
  };

  // While frames are chosen, or a link of the gallery has the focus, the gallery stays as it is.
  document.addEventListener("htmx:beforeRequest", (request) => {
    if (request.target.id === "gallery" && request.target.querySelector("input:checked, .open:focus")) {
      request.preventDefault();
    }
  });

  const follow = (relation) => document.querySelector(`main a[rel=${relation}]`)?.click();

  document.addEventListener("keydown", (key) => {
    if (key.target.closest("input, select, textarea, .scroll") || key.ctrlKey || key.altKey || key.metaKey) return;
    const cards = [...document.querySelectorAll(".card .open")];
    if (cards.length === 0) {
      const relation = { ArrowLeft: "prev", ArrowRight: "next", Escape: "up" }[key.key];
      if (relation) follow(relation);
      return;
    }
    if (key.key === "Escape") return document.activeElement.blur();
    const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key.key];
    if (!step) return;
    const from = cards.indexOf(document.activeElement);
    cards[from < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, from + step))].focus();
    key.preventDefault();
  });

  setInterval(tick, 500);
  document.addEventListener("htmx:sseMessage", tick); // a new fragment has no age yet
  tick();
})();
