#include "sq_multiply.h"

#include "sq_lanes.h"

/* `count` more elements of both sums, whose weights are words of four bytes. */
static void sq_add_bytes(const uint32_t *words, int32_t count, const int16_t *values,
                         int32_t columns, uint32_t *sums)
{
    for (; count > 0; count -= 4) {
        const uint32_t even = *words & 0x00FF00FFu, odd = *words >> 8 & 0x00FF00FFu;
        for (int32_t column = 0; column < columns; column++) {
            sums[column] = sq_dual_mac(even, sq_load_lanes(values), sums[column]);
            sums[column] = sq_dual_mac(odd, sq_load_lanes(values + 2), sums[column]);
            values += 4;
        }
        words++;
    }
}

/* A last row without another beside it: rare, so that it goes by way of 8 bits at every width. */
static void sq_dot_last(const sq_matrix *matrix, int32_t row, const sq_panel *panel,
                        int32_t *accumulators)
{
    const uint32_t *words = matrix->words + row * matrix->row_words;
    const int16_t *values = panel->values;
    uint32_t sums[SQ_COLUMNS] = {0, 0};
    for (int32_t left = matrix->length; left > 0; left -= SQ_BLOCK) {
        uint32_t bytes[SQ_BLOCK / 4];
        const uint32_t *block = words;
        const int32_t count = left < SQ_BLOCK ? left : SQ_BLOCK;
        if (matrix->widen != 0) {
            matrix->widen(words, count, 1, bytes);
            block = bytes;
        }
        sq_add_bytes(block, count, values, panel->columns, sums);
        words += matrix->bits;
        values += panel->columns * SQ_BLOCK;
    }
    for (int32_t column = 0; column < panel->columns; column++) {
        const uint32_t less = (uint32_t)panel->sums[column] << 7;
        accumulators[column * SQ_ROWS] = (int32_t)((uint32_t)matrix->bias[row] - less + sums[column]);
    }
}

void sq_multiply(const sq_matrix *matrix, int32_t first, int32_t count, const sq_panel *panel,
                 int32_t *accumulators)
{
    const int32_t paired = count & ~1;
    matrix->dot(matrix, first, paired, panel, accumulators);
    if (paired < count)
        sq_dot_last(matrix, first + paired, panel, accumulators + paired);
}
