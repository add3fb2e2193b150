"""What docs/media.md shows is what the commands make that it names."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "torchvision", reason="transformers' image processors need torchvision: pip install chatspan[media]"
)
pytest.importorskip("PIL", reason="images need pillow: pip install chatspan[media]")

import media_picture
import own_masks_table
import transformers
from zoo import REPO

PAGE = (REPO / "docs" / "media.md").read_text(encoding="utf-8")


def test_the_picture_of_a_row_is_that_of_an_encoding() -> None:
    """Made by ``make screenshots ARGS=media-row``."""
    assert (REPO / "docs" / "images" / "media-row.svg").read_text(encoding="utf-8") == media_picture.svg()
    assert "(images/media-row.svg)" in PAGE
    drawn = media_picture.boxes()
    assert [box.text for box in drawn if box.looks == "media"] == [
        "image, 6 tokens",
        "image, 12 tokens",
        "image, 4 tokens",
    ]
    trained = "".join(box.text for box in drawn if box.is_loss).replace("\xa0", " ")
    assert trained == "Your seat is on the left.<|im_end|>Your booking is for two.<|im_end|>"


def test_the_table_of_own_masks(pytestconfig: pytest.Config) -> None:
    """Made by ``python tests/media/own_masks_table.py``."""
    if not pytestconfig.getoption("--all"):
        pytest.skip("every processor: only with --all")
    if f"transformers {transformers.__version__}" not in PAGE:
        pytest.skip("the table is of another version of transformers")
    assert "\n".join(own_masks_table.lines()) in PAGE
