/* Products of two rows of packed weights with one or two columns of gathered inputs, for one width:
 * needs SQ_BITS and SQ_TILE_COLUMNS.
 *
 * With u = w + 2^(SQ_BITS - 1) the sum of w * x is that of u * x less 2^(SQ_BITS - 1) times the sum
 * of x, which is known from gathering. All is modulo 2^32; the sum itself fits int32_t.
 */
#include "sq_kernels.h"
#include "sq_packing.h"

/* Of a tile; those of the second column only where there is one. */
typedef struct {
    uint32_t s00, s01, s10, s11; /* row, column */
} sq_sums;

/* Lanes of each column for one pair of weights. */
typedef struct {
    sq_lanes x[SQ_TILE_COLUMNS];
} sq_inputs;

/* One pair of weights of each row times the inputs. */
SQ_INLINE void sq_add_pair(sq_sums *sums, uint32_t u0, uint32_t u1, const sq_inputs *inputs)
{
    sums->s00 = sq_dual_mac(u0, inputs->x[0], sums->s00);
    sums->s10 = sq_dual_mac(u1, inputs->x[0], sums->s10);
#if SQ_TILE_COLUMNS > 1
    sums->s01 = sq_dual_mac(u0, inputs->x[1], sums->s01);
    sums->s11 = sq_dual_mac(u1, inputs->x[1], sums->s11);
#endif
}

#if SQ_DSP

/* The words of both rows. */
SQ_INLINE void sq_load_rows(const uint32_t *words, int32_t index, uint32_t held[2])
{
    sq_load_two(words, 8 * index, &held[0], &held[1]);
}

/* Inputs of two pairs: four of each column. */
SQ_INLINE void sq_load_inputs(const int16_t *values, int32_t first_pair, sq_inputs inputs[2])
{
    const int32_t offset = 4 * SQ_TILE_COLUMNS * first_pair;
    sq_load_two(values, offset, &inputs[0].x[0], &inputs[1].x[0]);
#if SQ_TILE_COLUMNS > 1
    sq_load_two(values, offset + 8, &inputs[0].x[1], &inputs[1].x[1]);
#endif
}

/* A field of both words times the inputs; `shift` is a constant. Each AND stands behind the last
 * use of the register that it overwrites, so that Cortex-M7 does both at once. */
#if SQ_TILE_COLUMNS > 1
#define SQ_FIELD_MACS(SHIFTED0, SHIFTED1)                                                         \
    "and %[u], %[mask], %[w0]" SHIFTED0 "\n\t"                                                    \
    "smlad %[s00], %[u], %[x0], %[s00]\n\t"                                                       \
    "smlad %[s01], %[u], %[x1], %[s01]\n\t"                                                       \
    "and %[u], %[mask], %[w1]" SHIFTED1 "\n\t"                                                    \
    "smlad %[s10], %[u], %[x0], %[s10]\n\t"                                                       \
    "smlad %[s11], %[u], %[x1], %[s11]"
#else
#define SQ_FIELD_MACS(SHIFTED0, SHIFTED1)                                                         \
    "and %[u], %[mask], %[w0]" SHIFTED0 "\n\t"                                                    \
    "smlad %[s00], %[u], %[x0], %[s00]\n\t"                                                       \
    "and %[u], %[mask], %[w1]" SHIFTED1 "\n\t"                                                    \
    "smlad %[s10], %[u], %[x0], %[s10]"
#endif

SQ_INLINE void sq_add_field(sq_sums *sums, const uint32_t held[2], int32_t shift, uint32_t mask,
                            const sq_inputs *inputs)
{
    uint32_t u;
    const sq_lanes x1 = inputs->x[SQ_TILE_COLUMNS - 1];
    if (shift == 0)
        __asm__ volatile(SQ_FIELD_MACS("", "")
                         : [s00] "+r"(sums->s00), [s01] "+r"(sums->s01), [s10] "+r"(sums->s10),
                           [s11] "+r"(sums->s11), [u] "=&r"(u)
                         : [mask] "r"(mask), [w0] "r"(held[0]), [w1] "r"(held[1]),
                           [x0] "r"(inputs->x[0]), [x1] "r"(x1));
    else
        __asm__ volatile(SQ_FIELD_MACS(", lsr %[shift]", ", lsr %[shift]")
                         : [s00] "+r"(sums->s00), [s01] "+r"(sums->s01), [s10] "+r"(sums->s10),
                           [s11] "+r"(sums->s11), [u] "=&r"(u)
                         : [mask] "r"(mask), [w0] "r"(held[0]), [w1] "r"(held[1]),
                           [x0] "r"(inputs->x[0]), [x1] "r"(x1), [shift] "i"(shift));
}

#else

SQ_INLINE void sq_load_rows(const uint32_t *words, int32_t index, uint32_t held[2])
{
    held[0] = words[2 * index];
    held[1] = words[2 * index + 1];
}

SQ_INLINE void sq_load_inputs(const int16_t *values, int32_t first_pair, sq_inputs inputs[2])
{
    values += 2 * SQ_TILE_COLUMNS * first_pair;
    for (int32_t column = 0; column < SQ_TILE_COLUMNS; column++) {
        inputs[0].x[column] = sq_load_lanes(values + 4 * column);
        inputs[1].x[column] = sq_load_lanes(values + 4 * column + 2);
    }
}

SQ_INLINE void sq_add_field(sq_sums *sums, const uint32_t held[2], int32_t shift, uint32_t mask,
                            const sq_inputs *inputs)
{
    sq_add_pair(sums, held[0] >> shift & mask, held[1] >> shift & mask, inputs);
}

#endif

/* Pair `pair` of a block, which is a constant; pairs come in order. */
SQ_INLINE void sq_add_pair_of_block(sq_sums *sums, const uint32_t *words, const int16_t *values,
                                    int32_t pair, uint32_t mask, uint32_t held[2],
                                    sq_inputs inputs[2])
{
    if (pair < SQ_FIELD_PAIRS && pair % SQ_FIELDS == 0)
        sq_load_rows(words, pair / SQ_FIELDS, held);
    if (pair % 2 == 0)
        sq_load_inputs(values, pair, inputs);
#if SQ_LEFT > 0
    if (pair >= SQ_FIELD_PAIRS) {
        const uint32_t u0 = sq_left_pair(words, 2, pair - SQ_FIELD_PAIRS);
        const uint32_t u1 = sq_left_pair(words + 1, 2, pair - SQ_FIELD_PAIRS);
        sq_add_pair(sums, u0, u1, &inputs[pair % 2]);
        return;
    }
#endif
    sq_add_field(sums, held, SQ_BITS * (pair % SQ_FIELDS), mask, &inputs[pair % 2]);
}

/* The pairs behind the last whole block. A word may begin with the second pair of four inputs. */
SQ_INLINE void sq_add_tail(sq_sums *sums, const uint32_t *words, const int16_t *values,
                           int32_t count, uint32_t mask)
{
    int32_t step = 2; /* to the next pair, and over the other column's four to the one behind it */
    for (; count > 0; count--) {
        uint32_t held[2];
        sq_load_rows(words, 0, held);
        words += 2;
        for (int32_t field = SQ_FIELDS; field > 0; field--) {
            sq_inputs inputs;
            for (int32_t column = 0; column < SQ_TILE_COLUMNS; column++)
                inputs.x[column] = sq_load_lanes(values + 4 * column);
            sq_add_pair(sums, held[0] & mask, held[1] & mask, &inputs);
            held[0] >>= SQ_BITS;
            held[1] >>= SQ_BITS;
            values += step;
            step = 4 * SQ_TILE_COLUMNS - step;
        }
    }
}

/* See sq_dot. */
SQ_INLINE void sq_dot_rows(const sq_matrix *matrix, int32_t first, int32_t count,
                           const sq_panel *panel, int32_t *accumulators)
{
    const uint32_t mask = sq_in_register(SQ_FIELD_MASK);
    const uint32_t *words = matrix->words + first * matrix->row_words;
    const int32_t *bias = matrix->bias + first;
    const int32_t blocks = (int32_t)((uint32_t)matrix->length / SQ_BLOCK);
    const int32_t tail = matrix->row_words - blocks * SQ_BITS;
    for (; count > 1; count -= 2) {
        const uint32_t less0 = (uint32_t)panel->sums[0] << (SQ_BITS - 1);
        const uint32_t less1 = (uint32_t)panel->sums[SQ_TILE_COLUMNS - 1] << (SQ_BITS - 1);
        const uint32_t bias0 = (uint32_t)bias[0], bias1 = (uint32_t)bias[1];
        sq_sums sums = {bias0 - less0, bias0 - less1, bias1 - less0, bias1 - less1};
        const int16_t *values = panel->values;
        for (int32_t block = blocks; block > 0; block--) {
            uint32_t held[2] = {0, 0};
            sq_inputs inputs[2] = {{{SQ_NO_LANES}}, {{SQ_NO_LANES}}};
#define SQ_STEP(pair) sq_add_pair_of_block(&sums, words, values, pair, mask, held, inputs);
            SQ_FOR_EACH_PAIR(SQ_STEP)
#undef SQ_STEP
            words += 2 * SQ_BITS;
            values += SQ_TILE_COLUMNS * SQ_BLOCK;
        }
        sq_add_tail(&sums, words, values, tail, mask);
        words += 2 * tail;
        bias += 2;
        accumulators[0] = (int32_t)sums.s00;
        accumulators[1] = (int32_t)sums.s10;
#if SQ_TILE_COLUMNS > 1
        accumulators[SQ_ROWS] = (int32_t)sums.s01;
        accumulators[SQ_ROWS + 1] = (int32_t)sums.s11;
#endif
        accumulators += 2;
    }
}
