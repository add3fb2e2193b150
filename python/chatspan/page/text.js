// Other people's text as text nodes; what could not be seen, or would change what stands around it, spelled out.

// Control characters and those without a look of their own; not joiners and variation selectors, which shape emoji and
// letters, unless one stands alone.
const ESCAPED =
  "[[\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{DI}\\u00a0]--[\\n\\t\\u200c\\u200d\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]]";
const SPECIAL = new RegExp(`\\n|\\t| {2,}| +(?=\\n)|^ +$|^[\\u200c\\u200d\\ufe00-\\ufe0f]$|${ESCAPED}`, "gv");
const HAS_SPECIAL = new RegExp(SPECIAL.source, "v");

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The text of what is copied and searched stays as it is, except for what is spelled out.
function showText(element, text) {
  if (!HAS_SPECIAL.test(text)) {
    element.textContent = text;
    return;
  }
  let at = 0;
  for (const match of text.matchAll(SPECIAL)) {
    if (match.index > at) element.append(text.slice(at, match.index));
    element.append(special(match[0]));
    at = match.index + match[0].length;
  }
  if (at < text.length) element.append(text.slice(at));
}

function special(text) {
  if (text === "\n") return make("i", "newline", text);
  if (text === "\t") return make("i", "tab", text);
  if (text[0] === " ") return make("i", "blank", text);
  return make("i", "escape", spelled(text.codePointAt(0)));
}

function spelled(code) {
  if (code === 13) return "\\r";
  const hex = code.toString(16);
  if (code < 256) return "\\x" + hex.padStart(2, "0");
  return code < 65536 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0");
}

function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
