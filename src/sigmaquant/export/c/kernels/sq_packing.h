/* Weights of SQ_BITS bits, packed: 32 in SQ_BITS words. Needs SQ_BITS, 2 to 8.
 *
 * A weight w is stored as w + 2^(SQ_BITS - 1). Of each four weights the first and the third form a
 * pair, then the second and the fourth: so do the bytes of four inputs come out of a word. One of a
 * pair is in the low half of a word, the other at the same place in the high half. A half holds
 * 16 / SQ_BITS whole fields; pair p is field p % SQ_FIELDS of word p / SQ_FIELDS. The
 * 16 % SQ_BITS bits that are left of the halves of all words of a block hold its last pairs, as
 * many as are bits left: first SQ_BITS / SQ_LEFT whole pieces of SQ_LEFT bits each, from as many
 * words of its own, then the rest, side by side in the words behind.
 *
 * The weights behind the last whole block are in words of their own, whose left bits are unused.
 * Words of 8-bit weights are simply their bytes, in order.
 */
#ifndef SQ_PACKING_H
#define SQ_PACKING_H

#include "sq_lanes.h"

#define SQ_FIELDS (16 / SQ_BITS)
#define SQ_LEFT (16 % SQ_BITS)
#define SQ_FIELD_PAIRS (SQ_FIELDS * SQ_BITS)
#define SQ_LANES(mask) ((uint32_t)(mask) * 0x00010001u)

#define SQ_FIELD_MASK SQ_LANES((1u << SQ_BITS) - 1u)

/* Field `field` of a word: both lanes. `mask` is SQ_FIELD_MASK. */
SQ_INLINE uint32_t sq_field(uint32_t word, int32_t field, uint32_t mask)
{
    return word >> (SQ_BITS * field) & mask;
}

#if SQ_LEFT > 0
/* Pair SQ_FIELD_PAIRS + `left` of the block, whose words are `stride` apart. */
SQ_INLINE uint32_t sq_left_pair(const uint32_t *words, int32_t stride, int32_t left)
{
    enum { PIECES = SQ_BITS / SQ_LEFT, REST = SQ_BITS % SQ_LEFT, START = SQ_FIELDS * SQ_BITS };
    uint32_t pair = 0;
    for (int32_t piece = 0; piece < PIECES; piece++) {
        const uint32_t bits = words[stride * (left * PIECES + piece)] >> START;
        pair |= (bits & SQ_LANES((1u << SQ_LEFT) - 1u)) << (SQ_LEFT * piece);
    }
    if (REST > 0) {
        const uint32_t word = words[stride * (PIECES * SQ_LEFT + left * REST / SQ_LEFT)];
        const uint32_t bits = word >> (START + left * REST % SQ_LEFT);
        pair |= (bits & SQ_LANES((1u << REST) - 1u)) << (SQ_LEFT * PIECES);
    }
    return pair;
}
#endif

/* Pair `pair` of a block, whose words are `stride` apart. */
SQ_INLINE uint32_t sq_pair(const uint32_t *words, int32_t stride, int32_t pair, uint32_t mask)
{
#if SQ_LEFT > 0
    if (pair >= SQ_FIELD_PAIRS)
        return sq_left_pair(words, stride, pair - SQ_FIELD_PAIRS);
#endif
    return sq_field(words[stride * (pair / SQ_FIELDS)], pair % SQ_FIELDS, mask);
}

/* Does the same for 0 to 15. Where cycles count, the number is a constant each time, so that
 * shifts and masks are too; elsewhere a loop compiles ten times as fast. */
#if defined(__arm__)
#define SQ_FOR_EACH_PAIR(DO)                                                                      \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)                                               \
    DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#else
#define SQ_FOR_EACH_PAIR(DO)                                                                      \
    for (int32_t index = 0; index < 16; index++) {                                                \
        DO(index)                                                                                 \
    }
#endif

#define SQ_JOIN_(name, bits) name##bits
#define SQ_JOIN(name, bits) SQ_JOIN_(name, bits)

#endif
