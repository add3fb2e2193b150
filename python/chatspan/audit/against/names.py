"""What ``--against`` takes; apart, so that asking for help imports nothing."""

PEER_NAMES = ("hf", "trl", "renderers", "axolotl-style", "verl-style", "prefix-delta")
