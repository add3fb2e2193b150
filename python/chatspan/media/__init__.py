"""Images, videos and audio: what a processor makes of a chat, and whose each token of it is.

From a chat with media parts (``parts``) through the processor's own call (``processors``, ``recording``) and the proof
that its text is the render with placeholders replaced (``placeholders``, ``placement``, ``proof``) to a render of that
text (``expanded``) and what a model takes beside the ids (``inputs``).
"""
