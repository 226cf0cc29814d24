/* Products with two columns of inputs for one width: needs SQ_BITS. */
#define SQ_TILE_COLUMNS 2
#include "sq_tile.h"

void SQ_JOIN(sq_dot_w, SQ_BITS)(const sq_matrix *matrix, int32_t first, int32_t count,
                                const sq_panel *panel, int32_t *accumulators)
{
    sq_dot_rows(matrix, first, count, panel, accumulators);
}
