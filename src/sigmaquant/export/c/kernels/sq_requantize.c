#include "sq_requantize.h"

#include "sq_lanes.h"
#include "sq_values.h"

#define SQ_LIMIT (1 << 20)
#define SQ_LEAST_SHIFT 7 /* of a multiplier that is an integer of 24 bits, or less */

/* For which the multiplier is its 24 bits times 2^(7 - shift): 0 to 127. */
SQ_INLINE uint32_t sq_shift(uint32_t multiplier)
{
    return (multiplier + 31u) & 0x7Fu;
}

/* value / 2^bits, half to even. */
SQ_SELDOM static uint64_t sq_shifted_half_even(uint64_t value, uint32_t bits)
{
    if (bits == 0)
        return value;
    if (bits > 63)
        return 0;
    const uint64_t quotient = value >> bits;
    const uint64_t rest = value - (quotient << bits);
    const uint64_t half = (uint64_t)1 << (bits - 1);
    return quotient + (rest > half || (rest == half && (quotient & 1) != 0));
}

/* As float32 holds it: 24 bits, the others 0. */
SQ_SELDOM static uint64_t sq_rounded_to_float(uint64_t value)
{
    uint32_t bits = 0;
    while (value >> bits >> 24 != 0)
        bits++;
    return sq_shifted_half_even(value, bits) << bits;
}

/* Each rounding of float32 in turn. */
SQ_SELDOM static int32_t sq_scaled_exactly(int32_t accumulator, uint32_t multiplier)
{
    const uint32_t shift = sq_shift(multiplier);
    const uint64_t magnitude =
        accumulator < 0 ? (uint64_t) - (int64_t)accumulator : (uint64_t)accumulator;
    const uint64_t product =
        sq_rounded_to_float(sq_rounded_to_float(magnitude) * (multiplier >> 8));
    uint64_t result = SQ_LIMIT;
    if (product == 0)
        result = 0;
    else if (shift >= SQ_LEAST_SHIFT)
        result = sq_shifted_half_even(product, shift - SQ_LEAST_SHIFT);
    if (result > SQ_LIMIT)
        result = SQ_LIMIT;
    return accumulator < 0 ? -(int32_t)result : (int32_t)result;
}

/* In 64-bit steps, of which those of float32 are the last resort. */
SQ_SELDOM int32_t sq_scaled_anywhere(int32_t accumulator, uint32_t multiplier)
{
    const uint32_t shift = sq_shift(multiplier);
    if (shift >= 24 && shift <= 63) { /* a multiplier from 2^-32 to 2^7 */
        const int64_t product = (int64_t)accumulator * (int32_t)(multiplier >> 8 << 7);
        const int64_t whole = product >> shift;
        const uint32_t fraction = (uint32_t)((uint64_t)product << (64 - shift) >> 32);
        if (whole < -SQ_LIMIT || whole >= SQ_LIMIT)
            return whole < 0 ? -SQ_LIMIT : SQ_LIMIT;
        /* float32 moves products up to 2^9 by less than 2^-14. */
        if (fraction - 0x7FF80000u >= 0x00100000u)
            return (int32_t)whole + (int32_t)(fraction >> 31);
    }
    return sq_scaled_exactly(accumulator, multiplier);
}

SQ_SELDOM sq_quad sq_settled(sq_quad sums, const uint32_t *multipliers, int32_t zero_point)
{
    sq_quad q;
    if (sq_products(sums.s0, sums.s1, multipliers, zero_point, &q.s0, &q.s1)) {
        q.s0 = sq_scaled_anywhere(sums.s0, multipliers[0]) + zero_point;
        q.s1 = sq_scaled_anywhere(sums.s1, multipliers[1]) + zero_point;
    }
    if (sq_products(sums.s2, sums.s3, multipliers + 2, zero_point, &q.s2, &q.s3)) {
        q.s2 = sq_scaled_anywhere(sums.s2, multipliers[2]) + zero_point;
        q.s3 = sq_scaled_anywhere(sums.s3, multipliers[3]) + zero_point;
    }
    return q;
}

void sq_requantize(const int32_t *accumulators, int32_t count, const uint32_t *multipliers,
                   const sq_range *range, uint8_t *output, int32_t first)
{
    const int32_t zero_point = range->zero_point, highest = range->highest;
    uint8_t values[SQ_ROWS];
    uint8_t *target = sq_share_bytes(range->bits) ? values : output + first;
    int32_t lifted[SQ_ROWS];
    int32_t fours = range->lift < 0 ? 0 : count >> 2;
    int32_t left = count - 4 * fours;
    if (range->lift > 0) {
        for (int32_t i = 0; i < count; i++)
            lifted[i] = (int32_t)((uint32_t)accumulators[i] << range->lift);
        accumulators = lifted;
    }
    for (; fours > 0; fours--) {
        const sq_quad sums = {accumulators[0], accumulators[1], accumulators[2], accumulators[3]};
        multipliers = sq_requantize_four(sums, multipliers, zero_point,
                                         (uint32_t)highest * 0x01010101u, target);
        accumulators += 4;
        target += 4;
    }
    for (; left > 0; left--) {
        const int32_t q = sq_scaled_anywhere(*accumulators, *multipliers) + zero_point;
        *target++ = (uint8_t)sq_limited(q, highest);
        accumulators++;
        multipliers++;
    }
    if (sq_share_bytes(range->bits))
        sq_store_values(values, count, output, first, range->bits);
}
