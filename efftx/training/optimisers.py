"""What the course trains with."""

import optax

from efftx.validation import check_positive


def adamw(n_steps: int, *, peak: float, weight_decay: float = 0.01) -> optax.GradientTransformation:
    """AdamW: the rate rises for a twentieth of the steps, then falls to 0 along a cosine.

    The rate of the first step is 0, that of a single one too. Gradients are clipped to norm 1. A
    schedule belongs to its n_steps: with others it is another optimiser.

    Raises ValueError for n_steps < 1.
    """
    check_positive(n_steps=n_steps)
    n_rising = max(1, n_steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0, peak, n_rising, max(n_steps, n_rising + 1))
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, b2=0.98, weight_decay=weight_decay),
    )
