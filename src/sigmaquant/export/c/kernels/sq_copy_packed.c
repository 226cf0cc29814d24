#include "sq_values.h"
#include "sq_walk.h"

void sq_copy_packed(const sq_order *order, int32_t bits, const uint8_t *input, int32_t source,
                    uint8_t *output, int32_t target)
{
    const int32_t last = order->axes - 1;
    sq_walk walk;
    sq_begin_walk(&walk, order);
    do {
        for (int32_t i = 0; i < order->sizes[last]; i++) {
            const int32_t from = source + walk.source + i * order->source[last];
            const int32_t to = target + walk.target + i * order->target[last];
            sq_set_value(output, to, bits, sq_value(input, from, bits));
        }
    } while (sq_next_line(&walk));
}
