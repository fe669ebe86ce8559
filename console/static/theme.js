// Before the first paint, so that a page never flashes in the wrong theme.
try {
  const theme = localStorage.getItem("unmask-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's theme it is */ }
document.documentElement.classList.add("js");

// Shortcuts that are pressed before the rest of the scripts is there wait for it (common.js) instead of being the browser's.
{
  const keys = "urst";
  const pressed = [];
  const note = (event) => {
    const modified = keys.includes(event.key.toLowerCase()) && event.ctrlKey !== event.altKey && !event.metaKey && !event.shiftKey;
    if (!modified && event.key !== "?") return;
    event.preventDefault();
    pressed.push(event);
  };
  addEventListener("keydown", note);
  window.earlyKeys = (press) => { removeEventListener("keydown", note); pressed.forEach(press); };
}
