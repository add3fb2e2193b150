"""What images, videos and audio are called in rows."""

from __future__ import annotations

# The columns of TRL, LLaMA-Factory and LLaVA, and the type of part of each.
COLUMNS = {
    "images": "image",
    "image": "image",
    "videos": "video",
    "video": "video",
    "audios": "audio",
    "audio": "audio",
}
# Types of parts that are no text, and the kind of each.
PART_TYPES = {"image": "image", "image_url": "image", "input_image": "image", "video": "video", "video_url": "video"}
PART_TYPES |= {"audio": "audio", "audio_url": "audio", "input_audio": "audio"}
