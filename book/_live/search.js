// Excerpts of what the search finds, from `texts` of all pages: a page from a file can fetch none.
(() => {
  "use strict";
  const AROUND = 110; // letters on each side of the first word found
  const words = new URLSearchParams(location.search).get("q")?.toLowerCase().split(/\s+/).filter(Boolean) ?? [];

  const excerpt = (item) => {
    const page = item.querySelector("a")?.getAttribute("href").split("#")[0].replace(/\.html$/, "");
    const text = texts[page];
    if (!text || item.querySelector(".context")) return;
    const places = words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0);
    const at = places.length ? Math.min(...places) : 0;
    const from = text.lastIndexOf(" ", Math.max(0, at - AROUND)) + 1;
    const told = document.createElement("p");
    told.className = "context";
    told.textContent = `${from ? "… " : ""}${text.slice(from, at + AROUND)} …`;
    item.append(told);
    words.forEach((word) => _highlightText(told, word, "highlighted"));
  };
  const results = document.getElementById("search-results");
  new MutationObserver(() => results.querySelectorAll("li").forEach(excerpt))
    .observe(results, { childList: true, subtree: true });
})();
