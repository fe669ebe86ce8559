// Before the first paint, so that a page never flashes in the wrong theme.
try {
  const theme = localStorage.getItem("unmask-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme it is */ }
document.documentElement.classList.add("js");
