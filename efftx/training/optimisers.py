"""What the course trains with."""

import optax


def adamw(n_steps: int, *, peak: float, weight_decay: float = 0.01) -> optax.GradientTransformation:
    """AdamW: the rate rises for a twentieth of the steps, then falls to 0 along a cosine."""
    rate = optax.warmup_cosine_decay_schedule(0, peak, max(1, n_steps // 20), n_steps)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, b2=0.98, weight_decay=weight_decay),
    )
