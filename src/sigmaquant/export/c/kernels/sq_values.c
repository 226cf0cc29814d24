#include "sq_values.h"

void sq_load_values(const uint8_t *memory, int32_t first, int32_t count, int32_t bits,
                    uint8_t *values)
{
    const int32_t begin = first * bits;
    const int32_t mask = (1 << bits) - 1;
    int32_t held = 1; /* what is left of a byte, below a 1 */
    memory += begin >> 3;
    if (count > 0)
        held = (*memory++ | 1 << 8) >> (begin & 7);
    for (; count > 0; count--) {
        if (held == 1)
            held = *memory++ | 1 << 8;
        *values++ = (uint8_t)(held & mask);
        held >>= bits;
    }
}

void sq_store_values(const uint8_t *values, int32_t count, uint8_t *memory, int32_t first,
                     int32_t bits)
{
    for (int32_t i = 0; i < count; i++)
        sq_set_value(memory, first + i, bits, values[i]);
}
