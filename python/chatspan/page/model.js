// The data as it is asked for: of each token its kind, owner, masks and counterpart.

const MASKS = ["loss", "turn", "content", "generation"];
const MASK_SAYS = {
  none: "Marks nothing.",
  loss: "What the loss compares: the student's tokens that the teacher has too.",
  turn: "What an assistant has to produce itself: all behind its header, to the end of turn.",
  content: "The text of the assistants' contents only.",
  generation: "What the template's {% generation %} blocks wrote.",
};
const KIND_SAYS = {
  scaffold: "written by the template: headers, separators",
  content: "of a message's content",
  reasoning: "of a message's reasoning, with its tags",
  tool_call: "of a message's tool calls, with their wrapper",
  end_of_turn: "what ends a message",
  generation_prompt: "what add_generation_prompt adds",
  tools: "of the tools that may be called",
  documents: "of the documents",
  other_field: "of another field",
  tool_result: "what a tool answered, with what announces it",
  media: "what a processor makes of an image, a video or audio",
};

const data = JSON.parse(document.getElementById("data").textContent);
const views = data.views;
const sides = views.flatMap((view) => view.sides);
const kinds = views.length ? views[0].kinds : [];

for (const view of views) {
  view.sides.forEach((side, number) => prepare(view, side, number));
  if (view.sides.length === 2) pairUp(view);
}

function prepare(view, side, number) {
  const length = side.input_ids.length;
  side.view = view;
  side.number = number;
  side.length = length;
  side.elements = new Array(length);
  side.counterpart = new Int32Array(length).fill(-1);
  side.partOf = new Map(side.parts);
  side.isStraddling = new Set(side.straddling);
  side.mediumOf = new Map();
  for (const medium of side.media) {
    for (let i = medium.start_token; i < medium.end_token; i++) side.mediumOf.set(i, medium);
  }
  side.isDropped = new Set(number === 0 ? view.dropped : []);
  side.inMask = { none: new Uint8Array(length) };
  for (const name of MASKS) {
    if (!(name in side.masks)) continue;
    const mask = (side.inMask[name] = new Uint8Array(length));
    for (const [start, end] of side.masks[name]) mask.fill(1, start, end);
  }
  side.blocks = side.blocks.map(([message, start, end], place) => ({ side, message, start, end, place }));
  const seen = new Set();
  for (const block of side.blocks) {
    block.isContinued = block.message >= 0 && seen.has(block.message);
    seen.add(block.message);
  }
}

function pairUp(view) {
  const [student, teacher] = view.sides;
  for (const [mine, theirs, length] of view.same) {
    for (let i = 0; i < length; i++) {
      student.counterpart[mine + i] = theirs + i;
      teacher.counterpart[theirs + i] = mine + i;
    }
  }
}

function otherSide(side) {
  return side.view.sides[1 - side.number];
}

function blockOf(side, token) {
  let low = 0;
  let high = side.blocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (side.blocks[middle].start <= token) low = middle;
    else high = middle - 1;
  }
  return side.blocks[low];
}

function mediumText(medium) {
  return `[${medium.modality}, ${count(medium.tokens, "token")}]`;
}

function countIn(mask, start, end) {
  let total = 0;
  for (let i = start; i < end; i++) total += Number(mask[i]);
  return total;
}

function markedIn(block, name) {
  const mask = block.side.inMask[name];
  return mask ? countIn(mask, block.start, block.end) : 0;
}

function pathOf(side, token) {
  return side.path[token] < 0 ? null : side.paths[side.path[token]];
}

// What a block is called: its message's role, or what it is made of.
function blockTitle(block) {
  if (block.message >= 0) return block.side.roles[block.message];
  for (const name of ["tools", "documents", "generation_prompt"]) {
    const kind = kinds.indexOf(name);
    for (let i = block.start; i < block.end; i++) {
      if (block.side.kind[i] === kind) return name.replace("_", " ");
    }
  }
  return "outside of all messages";
}

// Why a mask cannot be chosen; null where it can.
function refusal(name) {
  if (name === "none" || sides.some((side) => name in side.masks)) return null;
  for (const side of sides) if (side.refused[name]) return side.refused[name];
  if (name === "generation") return "the chat template has no {% generation %} blocks";
  return "there is no token";
}
