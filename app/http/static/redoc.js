// ReDoc for this service's own OpenAPI document, in the colours of page.css. It takes colours once, at its start.

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(`--${name}`).trim();

const text = { primary: colour("ink"), secondary: colour("quiet") };
const theme = {
  colors: {
    primary: { main: colour("focus") },
    text,
    border: { dark: colour("rule"), light: colour("rule") },
    gray: { 50: colour("paper"), 100: colour("rule") },
  },
  schema: { nestedBackground: colour("paper"), typeNameColor: text.secondary, typeTitleColor: text.secondary },
  sidebar: { backgroundColor: colour("paper"), textColor: text.primary, activeTextColor: colour("focus") },
  typography: { code: { backgroundColor: colour("paper"), color: colour("warm") } },
};

Redoc.init("openapi.json", { theme }, document.getElementById("redoc"), () => {});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
