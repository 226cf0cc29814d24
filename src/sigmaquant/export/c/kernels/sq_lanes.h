/* Two 16-bit numbers in a word: with the DSP instructions of Cortex-M4, M7 and M33, and without. */
#ifndef SQ_LANES_H
#define SQ_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && !defined(__ARM_BIG_ENDIAN)
#define SQ_DSP 1
#include <arm_acle.h>
#else
#define SQ_DSP 0
#endif

/* Functions whose constant arguments have to become constants of the instructions, and such as
 * would only take registers from the loop that rarely calls them. */
#if defined(__GNUC__)
#define SQ_INLINE static inline __attribute__((always_inline))
#define SQ_NOINLINE static __attribute__((noinline))
#else
#define SQ_INLINE static inline
#define SQ_NOINLINE static
#endif

#if SQ_DSP

typedef uint32_t sq_lanes;
#define SQ_NO_LANES 0

SQ_INLINE sq_lanes sq_load_lanes(const int16_t *values)
{
    uint32_t lanes;
    memcpy(&lanes, values, sizeof lanes);
    return lanes;
}

/* Four numbers, aligned to a word: one load of two words. */
SQ_INLINE void sq_load_four(const int16_t *values, sq_lanes *first, sq_lanes *second)
{
    uint64_t lanes;
    memcpy(&lanes, __builtin_assume_aligned(values, 4), sizeof lanes);
    *first = (uint32_t)lanes;
    *second = (uint32_t)(lanes >> 32);
}

/* A number that is kept in a register: a constant, so that AND can take a shifted operand beside
 * it, or a word, so that it is not loaded again for each of its fields. */
SQ_INLINE uint32_t sq_in_register(uint32_t number)
{
    __asm__("" : "+r"(number));
    return number;
}

/* Loads behind this stay behind it: hoisted together they would not find registers. */
SQ_INLINE void sq_keep_order(void)
{
    __asm__ volatile("" : : : "memory");
}

/* One word, or two side by side. */
SQ_INLINE void sq_load_words(const uint32_t *source, int32_t count, uint32_t *words)
{
    if (count > 1) {
        uint64_t both;
        memcpy(&both, source, sizeof both);
        words[0] = sq_in_register((uint32_t)both);
        words[1] = sq_in_register((uint32_t)(both >> 32));
    } else {
        words[0] = sq_in_register(source[0]);
    }
}

/* Bytes 1 and 3 as 16-bit numbers: the rotation is part of the instruction, which the intrinsics
 * do not tell every compiler. */
SQ_INLINE uint32_t sq_odd_bytes(uint32_t bytes)
{
    uint32_t lanes;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

SQ_INLINE uint32_t sq_odd_signed_bytes(uint32_t bytes)
{
    uint32_t lanes;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(bytes));
    return lanes;
}

/* accumulator + low * low + high * high, modulo 2^32. */
SQ_INLINE uint32_t sq_dual_mac(uint32_t weights, sq_lanes values, uint32_t accumulator)
{
    return (uint32_t)__smlad((int16x2_t)weights, (int16x2_t)values, (int32_t)accumulator);
}

#else

typedef struct {
    uint32_t low, high;
} sq_lanes;
#define SQ_NO_LANES {0, 0}

SQ_INLINE sq_lanes sq_load_lanes(const int16_t *values)
{
    const sq_lanes lanes = {(uint32_t)(int32_t)values[0], (uint32_t)(int32_t)values[1]};
    return lanes;
}

SQ_INLINE void sq_load_four(const int16_t *values, sq_lanes *first, sq_lanes *second)
{
    *first = sq_load_lanes(values);
    *second = sq_load_lanes(values + 2);
}

SQ_INLINE uint32_t sq_in_register(uint32_t number)
{
    return number;
}

SQ_INLINE void sq_keep_order(void)
{
}

SQ_INLINE void sq_load_words(const uint32_t *source, int32_t count, uint32_t *words)
{
    words[0] = source[0];
    if (count > 1)
        words[1] = source[1];
}

/* As above; the weights are not negative. */
SQ_INLINE uint32_t sq_dual_mac(uint32_t weights, sq_lanes values, uint32_t accumulator)
{
    return accumulator + (weights & 0xFFFFu) * values.low + (weights >> 16) * values.high;
}

#endif

#endif
