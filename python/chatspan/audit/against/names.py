"""What ``--against`` takes; apart, so that asking for help imports nothing."""

PEER_NAMES = ("hf", "trl", "axolotl-style", "prefix-delta")
