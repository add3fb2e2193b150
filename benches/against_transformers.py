"""The collator against transformers' own ``apply_chat_template``, with its assistant mask and without."""

from __future__ import annotations

from functools import partial

from inputs import LENGTHS, Inputs
from sides import collator, generation_template, hf_masked, hf_plain, require_equal
from tables import Report, median, ratio
from timing import alternate, ratios

_TITLE = "2. One row, student only: collator against transformers"


def report_transformers(report: Report, inputs: Inputs, rounds: int) -> None:
    """Prints a table, or why there is none."""
    template = generation_template(inputs.tokenizer)
    if template is None:
        report.say(f"{_TITLE}: left out, no variant of this tokenizer's template with generation tags is known here\n")
        return
    table = report.table(
        _TITLE,
        [
            "messages",
            "tokens",
            "chatspan ms",
            "HF with mask ms",
            "HF / chatspan",
            "HF without mask ms",
            "HF / chatspan",
        ],
    )
    unequal = 0
    for messages in LENGTHS:
        trace = inputs.row(messages)
        collate = collator(inputs.tokenizer, with_hints=False)
        masked, plain = hf_masked(inputs.tokenizer, template, trace), hf_plain(inputs.tokenizer, trace)
        batch, masks = collate([trace]), masked()
        require_equal(batch, masks, ["input_ids"])
        unequal += int((batch["response_mask"] != masks["assistant_masks"]).sum())
        times = alternate([partial(collate, [trace]), masked, plain], rounds)
        table.add_row(
            str(messages),
            str(batch["input_ids"].shape[1]),
            median(times[:, 0]),
            median(times[:, 1]),
            ratio(ratios(times, 1)),
            median(times[:, 2]),
            ratio(ratios(times, 2)),
        )
    report.show(
        table,
        f"The ids of both are equal; the masks differ at {unequal} tokens in all. For its mask, transformers has a",
        "template with generation tags, which chatspan does without. Without the mask it gives ids only.",
    )
