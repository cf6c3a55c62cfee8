"""Models: compositions of the techniques in ``attention``, ``memory`` and ``sparsity``."""
