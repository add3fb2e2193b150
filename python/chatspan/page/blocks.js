// The rows of blocks and their tokens, drawn a slice at a time, so that the first ones are seen at once.

// Drawn before the first paint; more than a screen.
const FIRST_TOKENS = 1500;
const SLICE_MILLISECONDS = 12;
// A piece of a long block is laid out only when it comes near the screen.
const PIECE_TOKENS = 400;
// A line that is longer is broken, and the break marked: browsers lay out a paragraph as a whole.
const LONGEST_LINE = 1600;
// A picture with its frame.
const MEDIUM_PIXELS = 150;
// Longer ones start folded, if the template, a system message or a tool wrote them.
const FOLD_TOKENS = 350;
const FOLDED_ROLES = new Set(["system", "developer", "tool", "function", "tools", "documents"]);

// What is not drawn yet: rows, and in front of them the blocks of the last row that was begun.
const waitingRows = [];
const waitingBlocks = [];

function drawView(view) {
  const article = make("article", view.sides.length === 2 ? "view pair" : "view");
  if (views.length > 1) article.append(make("h2", "other", view.title));
  if (view.sides.length === 2) {
    const names = make("div", "names");
    for (const side of view.sides) {
      const name = make("p", "", side.name);
      side.summary = make("span", "quiet");
      name.append(" ", side.summary);
      names.append(name);
    }
    article.append(names);
  }
  for (const numbers of view.rows) waitingRows.push(() => drawRow(view, numbers, article));
  return article;
}

function drawRow(view, numbers, article) {
  const row = make("div", "row");
  const blocks = numbers.slice(0, view.sides.length).map((number, side) => {
    return number === null ? null : view.sides[side].blocks[number];
  });
  let height = 0;
  for (const block of blocks) {
    if (!block) {
      row.append(make("div", "gap"));
      continue;
    }
    block.isAlone = view.sides.length === 2 && blocks.includes(null);
    row.append(drawBlock(block));
    height = Math.max(height, 60 + (block.isFolded ? 160 : heightOf(block.side, block.start, block.end)));
  }
  row.style.containIntrinsicBlockSize = `auto ${Math.round(height)}px`;
  article.append(row);
  const drawn = blocks.filter(Boolean);
  drawOutlineLine(drawn);
  drawn.forEach(showMarked);
}

function drawBlock(block) {
  const { side } = block;
  const title = blockTitle(block);
  const element = (block.element = make("section", "block"));
  element.block = block;
  element.dataset.side = side.name;
  element.dataset.message = block.message;
  element.dataset.role = title;
  const heading = make("h3");
  heading.dataset.side = side.name;
  if (block.message >= 0) heading.append(make("span", "index", block.message));
  heading.append(make("span", "role other", title));
  if (block.isContinued) heading.append(make("span", "quiet", "continued"));
  const note = blockNote(block);
  if (note) {
    heading.append(make("span", "note", note));
    element.classList.add(block.isAlone ? "alone" : "holds-hint");
  }
  block.marked = make("span", "marked");
  heading.append(make("span", "counts quiet", count(block.end - block.start, "token")), block.marked);
  const text = (block.text = make("div", "text"));
  text.tabIndex = 0;
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", `tokens of ${side.name}, ${block.message >= 0 ? `message ${block.message}, ` : ""}${title}`);
  element.append(heading, text);
  if (block.end - block.start > FOLD_TOKENS && FOLDED_ROLES.has(title)) {
    block.fold = make("button", "fold");
    block.fold.type = "button";
    element.append(block.fold);
    fold(block, true);
    document.getElementById("unfold").hidden = false;
  }
  waitingBlocks.push(block);
  return element;
}

function blockNote(block) {
  const isHint = block.side.hint_messages.includes(block.message);
  if (block.isAlone) return isHint ? "the hint: only the teacher sees it" : `only the ${block.side.name} sees it`;
  return isHint ? "holds the hint, which only the teacher sees" : "";
}

function fold(block, isFolded) {
  block.isFolded = isFolded;
  block.element.classList.toggle("folded", isFolded);
  block.fold.textContent = isFolded ? `Show all ${count(block.end - block.start, "token")}` : "Fold";
  block.fold.setAttribute("aria-expanded", String(!isFolded));
}

// Both sides of a row, so that they stay beside each other.
function foldRow(block, isFolded) {
  for (const { block: each } of block.element.parentElement.querySelectorAll(".block")) {
    if (each.fold) fold(each, isFolded);
  }
}

// Draws what waits until so many tokens are drawn, or so much time is over.
function drawWaiting(tokens, milliseconds) {
  const until = performance.now() + milliseconds;
  while ((waitingBlocks.length || waitingRows.length) && tokens > 0 && performance.now() < until) {
    if (!waitingBlocks.length) waitingRows.shift()();
    const block = waitingBlocks[0];
    if (block.drawn !== block.end) tokens -= drawPiece(block);
    if (block.drawn === block.end) waitingBlocks.shift();
  }
}

function drawRest() {
  drawWaiting(Infinity, SLICE_MILLISECONDS);
  if (waitingBlocks.length || waitingRows.length) setTimeout(drawRest);
  else {
    performance.mark("chatspan-drawn");
    document.documentElement.dataset.drawn = "";
  }
}

// Draws all in front of a block too, and nothing more than a slice behind it.
function drawUntil(block) {
  while (!block.element && (waitingRows.length || waitingBlocks.length)) drawWaiting(FIRST_TOKENS, Infinity);
}

function drawWhole(block) {
  drawUntil(block);
  while ((block.drawn ?? block.start) < block.end) drawPiece(block);
}

// About how high tokens are, in pixels, before they are laid out.
function heightOf(side, start, end) {
  const media = side.media.filter((medium) => medium.start_token >= start && medium.start_token < end);
  const shown = media.reduce((tokens, medium) => tokens - medium.tokens, end - start);
  return shown * 1.6 + media.length * MEDIUM_PIXELS;
}

// A piece ends behind a newline, if it can: as an element of its own it begins a new line.
function drawPiece(block) {
  const { side } = block;
  const start = block.drawn ?? block.start;
  const piece = make("div", "piece");
  let i = start;
  while (i < block.end) {
    const length = piece.childElementCount;
    if (length >= PIECE_TOKENS && side.texts[i - 1].endsWith("\n")) break;
    if (length >= LONGEST_LINE && !side.partOf.has(i)) break;
    const medium = side.mediumOf.get(i);
    piece.append(medium ? drawMedium(side, medium, block) : drawToken(side, i, block));
    i = medium ? Math.min(medium.end_token, block.end) : i + 1;
  }
  if (start > block.start && !side.texts[start - 1].endsWith("\n")) piece.classList.add("same-line");
  if (i - start > PIECE_TOKENS / 2 && (start > block.start || i < block.end)) piece.classList.add("far");
  piece.style.containIntrinsicBlockSize = `auto ${Math.round(heightOf(side, start, i))}px`;
  block.text.append(piece);
  block.drawn = i;
  return i - start;
}

function tokenElement(side, i, block) {
  const element = document.createElement("span");
  let names = `t k${side.kind[i]}`;
  for (const name in side.masks) if (side.inMask[name][i]) names += ` in-${name}`;
  if (side.isStraddling.has(i)) names += " straddles";
  if (side.view.sides.length === 2 && side.counterpart[i] < 0 && !block.isAlone) names += " only";
  element.className = names;
  element.setAttribute("data-i", i);
  return element;
}

// One element for all tokens of a medium: its picture, if there is one, and what it is.
function drawMedium(side, medium, block) {
  const element = tokenElement(side, medium.start_token, block);
  element.className += " medium";
  if (medium.picture) {
    const picture = document.createElement("img");
    picture.alt = "";
    picture.src = medium.picture;
    element.append(picture);
  }
  const label = make("span", "medium-label");
  label.append(make("b", "", medium.modality));
  for (const line of [count(medium.tokens, "token"), `content[${medium.part}]`, medium.about]) {
    if (line) label.append(make("span", "", line));
  }
  element.append(label);
  for (let i = medium.start_token; i < medium.end_token; i++) side.elements[i] = element;
  return element;
}

function drawToken(side, i, block) {
  const element = tokenElement(side, i, block);
  if (i & 1) element.className += " odd";
  if (side.partOf.has(i)) {
    element.className += " part";
    element.textContent = side.texts[i];
    // The character itself, once, in front of the tokens that are its parts.
    const whole = side.partOf.get(i);
    const isFirst = i === 0 || side.offsets[i - 1][0] !== side.offsets[i][0] || !side.partOf.has(i - 1);
    if (isFirst && whole) {
      element.setAttribute("data-whole", HAS_SPECIAL.test(whole) ? spelled(whole.codePointAt(0)) : whole);
    }
  } else showText(element, side.texts[i]);
  side.elements[i] = element;
  return element;
}

function sideAndToken(target) {
  const element = target instanceof Element ? target.closest(".t") : null;
  if (!element) return null;
  return { side: element.closest(".block").block.side, token: Number(element.dataset.i) };
}

function tokenElementOf(side, token) {
  if (!side.elements[token]) drawWhole(blockOf(side, token));
  return side.elements[token];
}

// Brings a token into view, wherever it is folded or not drawn yet.
function reveal(side, token) {
  const block = blockOf(side, token);
  const element = tokenElementOf(side, token);
  if (block.isFolded) foldRow(block, false);
  element.scrollIntoView({ block: "center" });
  return element;
}
