/* Packed weights of one row as signed bytes, for one width: needs SQ_BITS. */
#include "sq_kernels.h"
#include "sq_packing.h"

/* The weights of a pair; `count` is how many of them there are. */
SQ_INLINE void sq_put_pair(uint32_t pair, int32_t count, int8_t *weights)
{
    weights[0] = (int8_t)((int32_t)(pair & 0xFFFFu) - (1 << (SQ_BITS - 1)));
    if (count > 1)
        weights[1] = (int8_t)((int32_t)(pair >> 16) - (1 << (SQ_BITS - 1)));
}

void SQ_JOIN(sq_unpack_w, SQ_BITS)(const uint32_t *words, int32_t count, int8_t *weights)
{
    for (; count >= SQ_BLOCK; count -= SQ_BLOCK) {
#define SQ_STEP(pair)                                                                             \
    sq_put_pair(sq_pair(words[(pair) / SQ_FIELDS % SQ_BITS], words, 1, pair, SQ_FIELD_MASK), 2,   \
                weights + 2 * (pair));
        SQ_FOR_PAIRS(SQ_STEP)
#undef SQ_STEP
        words += SQ_BITS;
        weights += SQ_BLOCK;
    }
    for (; count > 0; words++) {
        for (int32_t field = 0; field < SQ_FIELDS && count > 0; field++) {
            sq_put_pair(sq_field(*words, field, SQ_FIELD_MASK), count, weights);
            weights += 2;
            count -= 2;
        }
    }
}
