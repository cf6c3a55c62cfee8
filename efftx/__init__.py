"""efftx: Efficient Transformers as a course that you can run.

The rooms follow the talk's outline. ``attention`` (time), ``memory`` and ``sparsity`` hold
techniques as functions of arrays and know nothing of each other; ``models`` composes them;
``training`` drives models; ``plots`` and ``check`` serve the notebooks.

Glossary: the same letters and names stand in the text, the docstrings, the einsums and the tests.

===========  ==========================================================================
L, length    number of positions (tokens, bytes) in a sequence
d_model      width of the residual stream
d_head       width of one attention head's queries and keys; d_value that of its values
d_ff         width of the feed-forward layer
n_heads      number of attention heads
n_hashes     number of hashing rounds
n_buckets    number of buckets of one round, always even
m            chunk_len, the number of positions in a chunk of sorted positions
N            (discount) N_ij, the number of rounds in which key j is reachable from query i
N            (sparse feed-forward) units per block, of which one is on
S            number of modules of a multiplicative (sparse QKV) layer
vocab        number of different tokens
===========  ==========================================================================

A function of one example takes ``(length, d)`` arrays; the caller maps it over heads and batch.
"""

__version__ = "0.1.0"
