#include "sq_walk.h"

void sq_copy(const sq_order *order, const uint8_t *input, uint8_t *output)
{
    const int32_t last = order->axes - 1;
    sq_walk walk;
    sq_begin_walk(&walk, order);
    do {
        const uint8_t *source = input + walk.source;
        uint8_t *target = output + walk.target;
        for (int32_t i = 0; i < order->sizes[last]; i++) {
            *target = *source;
            source += order->source[last];
            target += order->target[last];
        }
    } while (sq_next_line(&walk));
}
