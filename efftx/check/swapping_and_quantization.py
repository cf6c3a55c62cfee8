"""Checks of exercise 05: rows in eight bits, blocks brought back, rounding by coin, swapping."""

from functools import partial

import numpy as np

from efftx.check import swapping_and_quantization_answers as answers
from efftx.check.core import Check

quantize_rows = Check(
    name="quantize_rows",
    returns=("codes", "absmax"),
    right=answers.rows,
    cases=answers.matrix_cases,
    praise="A quarter of the bytes, and no row pays for another.",
    mistakes={
        "It looks as if absmax were taken over the wrong axis: one for each column. Each row must "
        "have its own, so the maximum runs along axis 1.": answers.rows_over_columns,
        "It looks as if all rows shared the absmax of the whole matrix. Each row must have its "
        "own.": answers.rows_over_everything,
        "It looks as if absmax were the largest number and not the largest magnitude. A row of "
        "negative numbers has one too: take the absolute value first.": answers.rows_without_abs,
        "It looks as if the codes were truncated: a conversion to int8 cuts the fraction off, "
        "towards zero. Round to the nearest whole number before you convert.": (
            partial(answers.rows, to=np.trunc)
        ),
        "It looks as if the codes were always rounded down. Round to the nearest.": (
            partial(answers.rows, to=np.floor)
        ),
        "It looks as if 128 stood where 127 should. An int8 ends at 127, so the largest number of "
        "a row is cut to it, and all others do not fit to it.": partial(answers.rows, largest=128),
        "It looks as if 128 stood where 127 should: the largest number of a row gets the code 128, "
        "which an int8 does not have, and comes out as -128.": (
            partial(answers.rows, largest=128, as_int8=answers.wrapped)
        ),
        "It looks as if the codes went up to 255. An int8 ends at 127; what is larger is cut to "
        "it.": partial(answers.rows, largest=255),
        "The codes are right, but it looks as if `absmax` were already divided by 127. Return the "
        "largest magnitude itself: it then comes back without any rounding.": (
            answers.rows_with_step
        ),
        "It looks as if the numbers were not divided by their absmax: the codes must fill the "
        "range from -127 to 127.": lambda x: (answers.codes_of(x, 1), answers.row_absmax(x)),
    },
)

dequantize_blocks = Check(
    name="dequantize_blocks",
    returns=("numbers",),
    right=answers.restored,
    cases=answers.block_cases,
    praise="Every block found its own absmax.",
    mistakes={
        "It looks as if the codes were not rescaled: they were divided by 127, but not multiplied "
        "by the absmax of their block.": partial(answers.restored, of_each=answers.one),
        "It looks as if the division by 127 were missing: code 127 stands for absmax, not for 127 "
        "times absmax.": answers.not_divided,
        "It looks as if the codes were divided by 128. The largest code is 127, so that it comes "
        "back as absmax itself.": partial(answers.restored, largest=128),
        "It looks as if the absmax were dealt out like cards, one number to each block in turn. A "
        "block is block_len numbers in a row: jnp.repeat, not jnp.tile.": (
            partial(answers.restored, of_each=answers.dealt_out)
        ),
        "It looks as if every block used the absmax of the first.": (
            partial(answers.restored, of_each=answers.first_block)
        ),
        "It looks as if every block used the largest absmax of all. Each has its own.": (
            partial(answers.restored, of_each=answers.largest_block)
        ),
        "It looks as if the codes were divided by absmax. To quantize, we divided by it; to come "
        "back, multiply.": answers.divided_by_absmax,
    },
)

round_by_coin = Check(
    name="round_by_coin",
    returns=("rounded",),
    right=answers.by_coin,
    cases=answers.coin_cases,
    praise="Right on average, which rounding to the nearest is not.",
    mistakes={
        "It looks as if up and down were exchanged: a number just above a whole one must rarely go "
        "up. Up where u is less than the fraction.": (
            partial(answers.by_coin, up=lambda u, fraction: (u > fraction) & (fraction > 0))
        ),
        "It looks as if up and down were exchanged, and whole numbers went up too. Up where u is "
        "less than the fraction.": partial(answers.by_coin, up=np.greater),
        "It looks as if every number went to the nearest whole one, whatever u says. That is "
        "biased: 0.1 becomes 0 every time, and its tenth is lost.": answers.to_nearest,
        "It looks as if every number were rounded down, whatever u says. On average half a step "
        "is lost.": answers.always_down,
        "It looks as if u were added and the sum rounded to the nearest. On average that is half a "
        "step too much: u has the mean 1/2, so you would have to subtract it, or round down.": (
            answers.added_and_rounded
        ),
        "It is unbiased, and yet not what is asked: floor(x + u) goes up where u is *large*, at "
        "least 1 minus the fraction. So that all answers agree, go up where u is less than the "
        "fraction.": answers.added_and_cut,
        "It looks as if negative numbers were cut towards zero: of -3.7, what is below is -4, and "
        "the fraction is 0.3. Use floor, not a conversion to int.": (
            partial(answers.by_coin, below=np.trunc)
        ),
        "It looks as if the coin were always fair: half of the numbers go up, whatever their "
        "fraction. 0.1 must go up once in ten times.": answers.even_coin,
        "It looks as if one coin decided for all numbers. Each has its own: u[i] for x[i].": (
            answers.one_coin
        ),
        "It looks as if noise were added, but nothing rounded: the result must be whole "
        "numbers.": answers.never_rounded,
    },
)

tokens_to_hide = Check(
    name="tokens_to_hide",
    returns=("tokens",),
    right=answers.tokens,
    cases=answers.machine_cases,
    praise="The size of the layer has cancelled.",
    mistakes={
        "It looks as if a parameter did one operation for each token. It does two, a "
        "multiplication and an addition.": partial(answers.tokens, per_token=1),
        "It looks as if the backward pass were counted too, with six operations. Asked is the "
        "forward pass alone: two.": partial(answers.tokens, per_token=6),
        "It looks as if the ratio were upside down: a faster processor needs *more* tokens to be "
        "busy while it waits.": answers.tokens_upside_down,
        "It looks as if the bytes of a parameter played no part. In half the bytes it travels in "
        "half the time.": answers.tokens_without_bytes,
        "It looks as if n_bytes stood on the wrong side: larger parameters take longer to arrive, "
        "so more tokens are needed.": answers.tokens_of_smaller,
        "It looks as if the transfer were multiplied by the bandwidth. Seconds are bytes divided "
        "by bytes per second.": answers.tokens_with_faster_link,
        "It looks as if bytes were turned into bits. The bandwidth is in bytes per second too.": (
            answers.tokens_of_bits
        ),
    },
)

there_and_back = Check(
    name="there_and_back",
    returns=("restored",),
    right=answers.there_and_back,
    cases=answers.matrix_cases,
    praise="Your parts fit together.",
)
