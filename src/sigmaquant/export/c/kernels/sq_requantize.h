/* Accumulators to integers of the output's encoding, as float32 arithmetic would round them. */
#ifndef SQ_REQUANTIZE_H
#define SQ_REQUANTIZE_H

#include "sq_kernels.h"
#include "sq_lanes.h"

/* round_half_even(float32(accumulator) * multiplier), the product rounded to float32. Results that
 * no encoding reaches are only as far away. */
int32_t sq_scaled_anywhere(int32_t accumulator, uint32_t multiplier);

/* The same for the multipliers of a range with a lift, plus the zero point.
 *
 * The multiplier in units of 2^-32 is less than 1 too low. Up to results of 2^8, behind which they
 * are limited anyway, this moves a product by 2^-10 at most: the accumulator is at most 2^8 over the
 * multiplier of at least 2^-14, or known to be at most 2^22. float32 rounds the accumulator and the
 * product by 2^-24 of themselves, less than 2^-14. So only where the fraction is within 2^-9 of a
 * half can the integer be another, and is found out exactly: where the fraction plus a half and a
 * little more is little. (Both are constants that fit an instruction.) */
#define SQ_HALF_AND_LITTLE 0x80808080u
#define SQ_TWICE_LITTLE 0x01010101u

/* Sums of four rows or channels. */
typedef struct {
    int32_t s0, s1, s2, s3;
} sq_quad;

/* Two accumulators times their multipliers, rounded, plus the zero point; returns whether one of
 * them may be another integer. */
SQ_INLINE int32_t sq_products(int32_t first, int32_t second, const uint32_t *multipliers,
                              int32_t zero_point, int32_t *low, int32_t *high)
{
#if SQ_DSP
    uint32_t f0, f1; /* factors: the shift is the lowest byte of the word that is shifted */
    sq_load_two(multipliers, 0, &f0, &f1);
    __asm__ volatile("lsr %[f0], %[f0], %[f0]\n\t"
                     "lsr %[f1], %[f1], %[f1]\n\t"
                     "smmlar %[q0], %[a0], %[f0], %[zero]\n\t"
                     "mla %[f0], %[a0], %[f0], %[half]\n\t"
                     "smmlar %[q1], %[a1], %[f1], %[zero]\n\t"
                     "mla %[f1], %[a1], %[f1], %[half]"
                     : [f0] "+r"(f0), [f1] "+r"(f1), [q0] "=&r"(*low), [q1] "=&r"(*high)
                     : [a0] "r"(first), [a1] "r"(second), [zero] "r"(zero_point),
                       [half] "r"(SQ_HALF_AND_LITTLE));
    return SQ_RARELY(f0 <= SQ_TWICE_LITTLE) || SQ_RARELY(f1 <= SQ_TWICE_LITTLE);
#else
    const int64_t p0 = (int64_t)first * (int32_t)(multipliers[0] >> (multipliers[0] & 31u));
    const int64_t p1 = (int64_t)second * (int32_t)(multipliers[1] >> (multipliers[1] & 31u));
    *low = (int32_t)((p0 + 0x80000000) >> 32) + zero_point;
    *high = (int32_t)((p1 + 0x80000000) >> 32) + zero_point;
    return (uint32_t)p0 + SQ_HALF_AND_LITTLE <= SQ_TWICE_LITTLE ||
           (uint32_t)p1 + SQ_HALF_AND_LITTLE <= SQ_TWICE_LITTLE;
#endif
}

/* What two calls of sq_products give, where one of them cannot tell. */
sq_quad sq_settled(sq_quad sums, const uint32_t *multipliers, int32_t zero_point);

SQ_INLINE int32_t sq_limited(int32_t q, int32_t highest)
{
    return q < 0 ? 0 : q > highest ? highest : q;
}

#define SQ_NO_LIMIT 0xFFFFFFFFu

/* Four accumulators to four bytes, with multipliers of a range with a lift; `highest` is in each
 * byte of its word, SQ_NO_LIMIT for the largest byte. Returns what is behind the multipliers. */
SQ_INLINE const uint32_t *sq_requantize_four(sq_quad sums, const uint32_t *multipliers,
                                             int32_t zero_point, uint32_t highest,
                                             uint8_t *output)
{
    sq_quad q;
    if (SQ_RARELY(sq_products(sums.s0, sums.s1, multipliers, zero_point, &q.s0, &q.s1) ||
                  sq_products(sums.s2, sums.s3, multipliers + 2, zero_point, &q.s2, &q.s3)))
        q = sq_settled(sums, multipliers, zero_point);
#if SQ_DSP
    const uint32_t low = (uint32_t)__usat(q.s0, 8) | (uint32_t)__usat(q.s1, 8) << 8;
    const uint32_t high = (uint32_t)__usat(q.s2, 8) | (uint32_t)__usat(q.s3, 8) << 8;
    uint32_t bytes = low | high << 16;
    if (highest != SQ_NO_LIMIT)
        bytes -= __uqsub8(bytes, highest);
    SQ_COPY_WORD(output, &bytes);
#else
    const int32_t most = (int32_t)(highest & 0xFFu);
    output[0] = (uint8_t)sq_limited(q.s0, most);
    output[1] = (uint8_t)sq_limited(q.s1, most);
    output[2] = (uint8_t)sq_limited(q.s2, most);
    output[3] = (uint8_t)sq_limited(q.s3, most);
#endif
    return multipliers + 4;
}

/* Up to SQ_ROWS accumulators to integers of an encoding, stored from value `first` on:
 * limited(round_half_even(float32(float32(accumulator) * multiplier)) + zero point). */
void sq_requantize(const int32_t *accumulators, int32_t count, const uint32_t *multipliers,
                   const sq_range *range, uint8_t *output, int32_t first);

#endif
