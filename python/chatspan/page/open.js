// Where the page opens: at the message that its address names, or at the first hint. And the keys, behind "?".

function openThere() {
  const named = /^#message-(\d+)$/.exec(location.hash);
  if (named) return goToMessage(Number(named[1]));
  for (const side of sides) {
    const block = side.blocks.find((each) => side.hint_messages.includes(each.message));
    if (block) return goToHint(block);
  }
}

function goToMessage(message) {
  // The last side's, the teacher's of two, as in the outline.
  const block = sides.at(-1)?.blocks.find((each) => each.message === message);
  if (!block) return;
  drawUntil(block);
  jumpTo(block);
}

// A hint may stand inside of a longer message: at the first token that only the teacher has.
function goToHint(block) {
  drawUntil(block);
  jumpTo(block);
  const { side } = block;
  let token = block.start;
  while (token < block.end && side.counterpart[token] >= 0) token++;
  if (!block.isAlone && token < block.end) reveal(side, token);
}

function listenForAddress() {
  addEventListener("hashchange", openThere);
}

function listenForHelp() {
  const keys = document.getElementById("keys");
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  document.getElementById("close").addEventListener("click", () => keys.close());
  // Beside the dialog: only its backdrop is outside of its own box.
  keys.addEventListener("click", (event) => event.target === keys && keys.close());
}
