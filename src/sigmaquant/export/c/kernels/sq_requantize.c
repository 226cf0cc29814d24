#include "sq_requantize.h"

#include "sq_lanes.h"
#include "sq_values.h"

#define SQ_LIMIT (1 << 20)

/* value / 2^bits, half to even. */
static uint64_t sq_shifted_half_even(uint64_t value, uint32_t bits)
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
static uint64_t sq_rounded_to_float(uint64_t value)
{
    uint32_t bits = 0;
    while (value >> bits >> 24 != 0)
        bits++;
    return sq_shifted_half_even(value, bits) << bits;
}

/* Each rounding of float32 in turn. */
static int32_t sq_scaled_exactly(int32_t accumulator, uint32_t multiplier)
{
    const uint32_t shift = multiplier & 0x7Fu;
    const uint64_t magnitude =
        accumulator < 0 ? (uint64_t) - (int64_t)accumulator : (uint64_t)accumulator;
    const uint64_t product =
        sq_rounded_to_float(sq_rounded_to_float(magnitude) * (multiplier >> 7));
    uint64_t result = SQ_LIMIT;
    if (product == 0)
        result = 0;
    else if (shift >= 7)
        result = sq_shifted_half_even(product, shift - 7);
    if (result > SQ_LIMIT)
        result = SQ_LIMIT;
    return accumulator < 0 ? -(int32_t)result : (int32_t)result;
}

/* As sq_scaled, in 64-bit steps. */
SQ_NOINLINE int32_t sq_scaled_anywhere(int32_t accumulator, uint32_t multiplier)
{
    const uint32_t shift = multiplier & 0x7Fu;
    if (shift >= 24 && shift <= 63) { /* a multiplier from 2^-32 to 2^7 */
        const int64_t product = (int64_t)accumulator * (int32_t)(multiplier & ~0x7Fu);
        const int64_t whole = product >> shift;
        const uint32_t fraction = (uint32_t)((uint64_t)product << (64 - shift) >> 32);
        if (whole < -SQ_LIMIT || whole >= SQ_LIMIT)
            return whole < 0 ? -SQ_LIMIT : SQ_LIMIT;
        if (fraction - 0x7FF80000u >= 0x00100000u)
            return (int32_t)whole + (int32_t)(fraction >> 31);
    }
    return sq_scaled_exactly(accumulator, multiplier);
}

/* round_half_even(float32(accumulator) * multiplier) with a product rounded to float32. Results
 * that no encoding reaches are only as far away.
 *
 * float32 rounds the accumulator and the product by 2^-24 of themselves at most. Up to 2^9, where
 * results are limited anyway, this moves a product by less than 2^-14: so it can change the
 * integer only for a fraction within 2^-13 of a half. Multipliers below 1/4 with a fraction that is
 * not even within 2^-8 of a half, which is most of them, take 32-bit steps. */
SQ_INLINE int32_t sq_scaled(int32_t accumulator, uint32_t multiplier)
{
    const uint32_t shift = multiplier & 0x7Fu;
    if (shift - 33u > 63u - 33u)
        return sq_scaled_anywhere(accumulator, multiplier);
    const int64_t product = (int64_t)accumulator * (int32_t)(multiplier & ~0x7Fu);
    const int32_t high = (int32_t)(product >> 32);
    const uint32_t low = (uint32_t)product;
    const uint32_t fraction = (uint32_t)high << (64u - shift) | low >> (shift - 32u);
    if (fraction - 0x7F800000u < 0x01000000u)
        return sq_scaled_anywhere(accumulator, multiplier);
    return (high >> (shift - 32u)) + (int32_t)(fraction >> 31);
}

void sq_requantize(const int32_t *accumulators, int32_t count, const uint32_t *multipliers,
                   const sq_range *range, uint8_t *output, int32_t first)
{
    const int32_t zero_point = range->zero_point, highest = range->highest;
    uint8_t values[SQ_ROWS];
    uint8_t *target = range->bits == 8 ? output + first : values;
    for (int32_t left = count; left > 0; left--) {
        const int32_t q = sq_scaled(*accumulators++, *multipliers++) + zero_point;
        *target++ = (uint8_t)(q < 0 ? 0 : q > highest ? highest : q);
    }
    if (range->bits != 8)
        sq_store_values(values, count, output, first, range->bits);
}
