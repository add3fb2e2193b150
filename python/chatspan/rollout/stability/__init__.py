"""What a template does with a rollout: for each kind of event whether the next prompt goes on from what was shown.

In: an encoder. Out: :class:`StabilityReport`, from small conversations that cross the same bridge as rollouts do.
"""
