/* Values of 2, 4 or 8 bits, side by side in memory: the first in the lowest bits of a byte. */
#ifndef SQ_VALUES_H
#define SQ_VALUES_H

#include "sq_kernels.h"
#include "sq_lanes.h"

/* 0 in the library of a network without such values, so that it has no code for them. */
#ifndef SQ_PACKED_VALUES
#define SQ_PACKED_VALUES 1
#endif

/* Whether several of them share a byte. */
SQ_INLINE int32_t sq_share_bytes(int32_t bits)
{
    return SQ_PACKED_VALUES && bits != 8;
}

SQ_INLINE int32_t sq_value(const uint8_t *memory, int32_t index, int32_t bits)
{
    if (bits == 8)
        return memory[index];
    const int32_t bit = index * bits;
    return memory[bit >> 3] >> (bit & 7) & ((1 << bits) - 1);
}

/* The other values of the byte stay as they are. */
SQ_INLINE void sq_set_value(uint8_t *memory, int32_t index, int32_t bits, int32_t value)
{
    if (bits == 8) {
        memory[index] = (uint8_t)value;
        return;
    }
    const int32_t bit = index * bits;
    const int32_t place = bit & 7;
    const int32_t others = memory[bit >> 3] & ~(((1 << bits) - 1) << place);
    memory[bit >> 3] = (uint8_t)(others | value << place);
}

/* `count` values from value `first` on, as bytes. */
void sq_load_values(const uint8_t *memory, int32_t first, int32_t count, int32_t bits,
                    uint8_t *values);

/* Bytes as `count` values from value `first` on. */
void sq_store_values(const uint8_t *values, int32_t count, uint8_t *memory, int32_t first,
                     int32_t bits);

#endif
