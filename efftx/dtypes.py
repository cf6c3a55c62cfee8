"""In which dtype numbers are added up and drawn, and which arrays hold no numbers."""

import jax
import jax.numpy as jnp

# What is drawn at random: the same numbers whatever is computed with them, and under x64, too.
DRAWN = jnp.float32


def at_least_float32(*arrays):
    """The arrays in their common dtype, but bfloat16 and float16 become float32."""
    arrays = [jnp.asarray(x) for x in arrays]  # numpy's float64 is float32 here, unless x64 is on
    dtype = sum_dtype(jnp.result_type(*(x.dtype for x in arrays)))
    return tuple(x.astype(dtype) for x in arrays)


def sum_dtype(dtype):
    """In which sums of many numbers of this dtype are held: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


def holds_keys(array) -> bool:
    """Whether these are typed keys of jax.random, which no arithmetic takes."""
    return jnp.issubdtype(getattr(array, "dtype", None), jax.dtypes.prng_key)
