/* Two 16-bit numbers in a word: with the DSP instructions of Cortex-M4, M7 and M33, and without.
 *
 * Define SQ_DUAL_ISSUE as 1 for a core that issues two instructions at once, such as Cortex-M7; it
 * is so by itself where the compiler knows a double-precision unit, which M4 and M33 never have.
 * It changes the order of loads, never a result. */
#ifndef SQ_LANES_H
#define SQ_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && defined(__OPTIMIZE__) &&                   \
    !defined(__ARM_BIG_ENDIAN)
#define SQ_DSP 1
#include <arm_acle.h>
#else
#define SQ_DSP 0
#endif

#if !defined(SQ_DUAL_ISSUE)
#if defined(__ARM_FP) && (__ARM_FP & 8)
#define SQ_DUAL_ISSUE 1
#else
#define SQ_DUAL_ISSUE 0
#endif
#endif

/* Functions whose constant arguments have to become constants of the instructions; such as would
 * only take registers from the loop that rarely calls them; and such as run so seldom that they
 * are better short than fast. */
#if defined(__GNUC__)
#define SQ_INLINE static inline __attribute__((always_inline))
#define SQ_NOINLINE static __attribute__((noinline))
#define SQ_RARELY(condition) __builtin_expect(condition, 0)
#define SQ_SELDOM __attribute__((cold))
#else
#define SQ_INLINE static inline
#define SQ_NOINLINE static
#define SQ_RARELY(condition) (condition)
#define SQ_SELDOM
#endif

/* Four bytes as a word, the first in its lowest bits on the cores with DSP instructions, and back.
 * Builtins, because without them (-ffreestanding) each would be a call. */
#if defined(__GNUC__)
#define SQ_COPY_WORD(target, source) __builtin_memcpy(target, source, sizeof(uint32_t))
#else
#define SQ_COPY_WORD(target, source) memcpy(target, source, sizeof(uint32_t))
#endif

#if SQ_DSP

typedef uint32_t sq_lanes;
#define SQ_NO_LANES 0

SQ_INLINE uint32_t sq_load_bytes(const uint8_t *bytes)
{
    uint32_t word;
    SQ_COPY_WORD(&word, bytes);
    return word;
}

SQ_INLINE sq_lanes sq_load_lanes(const int16_t *values)
{
    uint32_t lanes;
    SQ_COPY_WORD(&lanes, values);
    return lanes;
}

/* Two neighbouring words, `offset` bytes behind an address that is aligned to a word; the offset is
 * a constant. Written out, and not moved by the compiler: Cortex-M4 does loads in a row at one
 * cycle each, and Cortex-M7 does one of two words beside another instruction. */
SQ_INLINE void sq_load_two(const void *address, int32_t offset, uint32_t *first, uint32_t *second)
{
    uint32_t low, high;
#if SQ_DUAL_ISSUE
    __asm__ volatile("ldrd %0, %1, [%2, %3]"
                     : "=&r"(low), "=&r"(high)
                     : "r"(address), "i"(offset)
                     : "memory");
#else
    __asm__ volatile("ldr %0, [%2, %3]\n\tldr %1, [%2, %4]"
                     : "=&r"(low), "=&r"(high)
                     : "r"(address), "i"(offset), "i"(offset + 4)
                     : "memory");
#endif
    *first = low;
    *second = high;
}

/* A number that is kept in a register: a constant, so that AND can take a shifted operand beside
 * it. */
SQ_INLINE uint32_t sq_in_register(uint32_t number)
{
    __asm__("" : "+r"(number));
    return number;
}

/* Bytes 0 and 2, and bytes 1 and 3, as 16-bit numbers: the rotation is part of the instruction,
 * which the intrinsics do not tell every compiler. */
SQ_INLINE uint32_t sq_even_bytes(uint32_t bytes)
{
    return (uint32_t)__uxtb16(bytes);
}

SQ_INLINE uint32_t sq_odd_bytes(uint32_t bytes)
{
    uint32_t lanes;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(lanes) : "r"(bytes));
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

SQ_INLINE void sq_load_two(const uint32_t *words, int32_t offset, uint32_t *first, uint32_t *second)
{
    *first = words[offset / 4];
    *second = words[offset / 4 + 1];
}

SQ_INLINE sq_lanes sq_load_lanes(const int16_t *values)
{
    const sq_lanes lanes = {(uint32_t)(int32_t)values[0], (uint32_t)(int32_t)values[1]};
    return lanes;
}

SQ_INLINE uint32_t sq_in_register(uint32_t number)
{
    return number;
}

/* As above; the weights are not negative. */
SQ_INLINE uint32_t sq_dual_mac(uint32_t weights, sq_lanes values, uint32_t accumulator)
{
    return accumulator + (weights & 0xFFFFu) * values.low + (weights >> 16) * values.high;
}

#endif

#endif
