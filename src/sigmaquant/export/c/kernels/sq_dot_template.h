/* Products of packed weights with gathered inputs, for one width: needs SQ_BITS.
 *
 * With u = w + 2^(SQ_BITS - 1) the sum of w * x is that of u * x less 2^(SQ_BITS - 1) times the sum
 * of x, which is known from gathering. All is modulo 2^32; the sum itself fits int32_t.
 */
#include "sq_kernels.h"
#include "sq_packing.h"

/* Sums of a tile: two rows and two columns, or the part of them that there is. */
typedef struct {
    uint32_t s00, s01, s10, s11; /* row, column */
} sq_sums;

/* What is loaded: words of both rows, and two pairs of both columns. */
typedef struct {
    uint32_t word[2];
    sq_lanes even[2], odd[2];
} sq_loaded;

/* Pair `pair` of a block; pairs come in order. `rows` and `columns` are 1 or 2; these three are
 * constants of the callers. */
SQ_INLINE void sq_add_pair(sq_sums *sums, sq_loaded *loaded, const uint32_t *words,
                           const int16_t *values, int32_t pair, int32_t rows, int32_t columns,
                           uint32_t mask)
{
    if (pair % 2 == 0) {
        sq_load_four(values + 2 * pair, &loaded->even[0], &loaded->odd[0]);
        if (columns > 1)
            sq_load_four(values + SQ_BLOCK + 2 * pair, &loaded->even[1], &loaded->odd[1]);
    }
    if (pair < SQ_FIELD_PAIRS && pair % SQ_FIELDS == 0)
        sq_load_words(words + rows * (pair / SQ_FIELDS), rows, loaded->word);
    const sq_lanes x0 = pair % 2 == 0 ? loaded->even[0] : loaded->odd[0];
    const sq_lanes x1 = pair % 2 == 0 ? loaded->even[1] : loaded->odd[1];
    const uint32_t u0 = sq_pair(loaded->word[0], words, rows, pair, mask);
    sums->s00 = sq_dual_mac(u0, x0, sums->s00);
    if (columns > 1)
        sums->s01 = sq_dual_mac(u0, x1, sums->s01);
    if (rows > 1) {
        const uint32_t u1 = sq_pair(loaded->word[1], words + 1, rows, pair, mask);
        sums->s10 = sq_dual_mac(u1, x0, sums->s10);
        if (columns > 1)
            sums->s11 = sq_dual_mac(u1, x1, sums->s11);
    }
    if (pair % 2 == 1)
        sq_keep_order();
}

/* One field of a word of each row. */
SQ_INLINE void sq_add_field(sq_sums *sums, const uint32_t *words, const int16_t *values,
                            int32_t field, int32_t rows, int32_t columns)
{
    const sq_lanes x0 = sq_load_lanes(values);
    const sq_lanes x1 = sq_load_lanes(columns > 1 ? values + SQ_BLOCK : values);
    const uint32_t u0 = sq_field(words[0], field, SQ_FIELD_MASK);
    const uint32_t u1 = sq_field(words[rows - 1], field, SQ_FIELD_MASK);
    sums->s00 = sq_dual_mac(u0, x0, sums->s00);
    if (columns > 1)
        sums->s01 = sq_dual_mac(u0, x1, sums->s01);
    if (rows > 1)
        sums->s10 = sq_dual_mac(u1, x0, sums->s10);
    if (rows > 1 && columns > 1)
        sums->s11 = sq_dual_mac(u1, x1, sums->s11);
}

/* The products of `rows` rows with `columns` columns. */
SQ_INLINE sq_sums sq_tile(const uint32_t *words, const int16_t *values, int32_t length,
                          int32_t rows, int32_t columns)
{
    const uint32_t mask = sq_in_register(SQ_FIELD_MASK);
    sq_sums sums = {0, 0, 0, 0};
    sq_loaded loaded = {{0, 0}, {SQ_NO_LANES, SQ_NO_LANES}, {SQ_NO_LANES, SQ_NO_LANES}};
    for (int32_t block = length / SQ_BLOCK; block > 0; block--) {
#define SQ_STEP(pair) sq_add_pair(&sums, &loaded, words, values, pair, rows, columns, mask);
        if (rows > 1) {
            SQ_FOR_EACH_PAIR(SQ_STEP)
        } else { /* a last odd row: rare, and not worth its size */
            SQ_FOR_PAIRS(SQ_STEP)
        }
#undef SQ_STEP
        words += rows * SQ_BITS;
        values += columns * SQ_BLOCK;
    }
    for (int32_t word = sq_tail_words(length); word > 0; word--) {
        for (int32_t field = 0; field < SQ_FIELDS; field++) {
            sq_add_field(&sums, words, values, field, rows, columns);
            values += 2;
        }
        words += rows;
    }
    return sums;
}

/* A column's sum as an accumulator. */
SQ_INLINE int32_t sq_finished(uint32_t sum, int32_t bias, int32_t column_sum)
{
    return (int32_t)((uint32_t)bias - ((uint32_t)column_sum << (SQ_BITS - 1)) + sum);
}

/* The tile's accumulators from row 0 of `bias` and `accumulators` on. */
SQ_INLINE void sq_put_tile(sq_sums sums, const int32_t *bias, const sq_panel *panel,
                           int32_t rows, int32_t columns, int32_t *accumulators)
{
    accumulators[0] = sq_finished(sums.s00, bias[0], panel->sums[0]);
    if (columns > 1)
        accumulators[SQ_ROWS] = sq_finished(sums.s01, bias[0], panel->sums[1]);
    if (rows > 1)
        accumulators[1] = sq_finished(sums.s10, bias[1], panel->sums[0]);
    if (rows > 1 && columns > 1)
        accumulators[SQ_ROWS + 1] = sq_finished(sums.s11, bias[1], panel->sums[1]);
}

/* All rows of sq_dot; `columns` is a constant of the callers. */
SQ_INLINE void sq_dot_columns(const sq_matrix *matrix, int32_t first, int32_t count,
                              const sq_panel *panel, int32_t columns, int32_t *accumulators)
{
    const int32_t length = matrix->length;
    const int32_t row_words = length / SQ_BLOCK * SQ_BITS + sq_tail_words(length);
    const uint32_t *words = matrix->words + first * row_words;
    const int32_t *bias = matrix->bias + first;
    for (; count > 1; count -= 2) {
        const sq_sums sums = sq_tile(words, panel->values, length, 2, columns);
        sq_put_tile(sums, bias, panel, 2, columns, accumulators);
        words += 2 * row_words;
        bias += 2;
        accumulators += 2;
    }
    if (count > 0) {
        const sq_sums sums = sq_tile(words, panel->values, length, 1, columns);
        sq_put_tile(sums, bias, panel, 1, columns, accumulators);
    }
}

void SQ_JOIN(sq_dot_w, SQ_BITS)(const sq_matrix *matrix, int32_t first, int32_t count,
                                const sq_panel *panel, int32_t *accumulators)
{
    if (panel->columns > 1)
        sq_dot_columns(matrix, first, count, panel, 2, accumulators);
    else
        sq_dot_columns(matrix, first, count, panel, 1, accumulators);
}
