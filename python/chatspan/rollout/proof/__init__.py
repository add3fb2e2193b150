"""What was sampled, beside the template's render of it: where it stands there, and where the next prompt goes on.

In: sampled ids, and the render of the conversation that goes on from them. Out: :class:`Bridge`, or an error with its
place. It imports nothing of the room but rewrites.
"""
