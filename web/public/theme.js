/* Before the first paint, so that a dark page is never white for a moment. */
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("taskyard.theme");
  } catch (error) {
    /* Storage may be forbidden: then the system's theme holds. */
  }
  var dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.classList.toggle("dark", dark);
})();
