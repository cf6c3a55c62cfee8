"""All rows: to cover another room, add it here."""

from efftx import attention, memory, models, sparsity, training
from tests.public import of_attention, of_memory, of_models, of_sparsity, of_training
from tests.public.rows import Numbers, Row

ROOMS = {
    attention: of_attention.ROWS,
    memory: of_memory.ROWS,
    sparsity: of_sparsity.ROWS,
    models: of_models.ROWS,
    training: of_training.ROWS,
}
TABLE = {
    f"{room.__name__}.{name}": row for room, rows in ROOMS.items() for name, row in rows.items()
}
ARRAYS = {name: row for name, row in TABLE.items() if isinstance(row, Row)}
NUMBERS = {name: row for name, row in TABLE.items() if isinstance(row, Numbers)}
