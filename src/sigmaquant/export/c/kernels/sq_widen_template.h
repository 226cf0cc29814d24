/* Packed weights of one row as 8-bit ones, for one width: needs SQ_BITS, 2 to 7. */
#include "sq_kernels.h"
#include "sq_packing.h"

/* Two pairs as bytes. */
SQ_INLINE uint32_t sq_bytes_of_pairs(uint32_t first, uint32_t second)
{
    return (first | second << 8) + (128u - (1u << (SQ_BITS - 1))) * 0x01010101u;
}

void SQ_JOIN(sq_widen_w, SQ_BITS)(const uint32_t *words, int32_t count, int32_t stride,
                                  uint32_t *target)
{
    const uint32_t mask = sq_in_register(SQ_FIELD_MASK);
    for (; count >= SQ_BLOCK; count -= SQ_BLOCK) {
        uint32_t first = 0;
#define SQ_STEP(pair)                                                                             \
    if ((pair) % 2 == 0) {                                                                        \
        first = sq_pair(words, stride, pair, mask);                                               \
    } else {                                                                                      \
        *target = sq_bytes_of_pairs(first, sq_pair(words, stride, pair, mask));                   \
        target += stride;                                                                         \
    }
        SQ_FOR_EACH_PAIR(SQ_STEP)
#undef SQ_STEP
        words += SQ_BITS * stride;
    }
    for (int32_t pair = 0; count > 0; count -= 4) {
        const uint32_t first = sq_field(words[pair / SQ_FIELDS * stride], pair % SQ_FIELDS, mask);
        uint32_t second = 0;
        pair++;
        if (count > 1)
            second = sq_field(words[pair / SQ_FIELDS * stride], pair % SQ_FIELDS, mask);
        pair++;
        *target = sq_bytes_of_pairs(first, second);
        target += stride;
    }
}
