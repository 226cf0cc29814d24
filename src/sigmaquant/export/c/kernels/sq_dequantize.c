#include "sq_values.h"
#include "sq_walk.h"

void sq_dequantize(const sq_order *order, float scale, int32_t zero_point, int32_t bits,
                   const uint8_t *input, float *output)
{
    const int32_t last = order->axes - 1;
    sq_walk walk;
    sq_begin_walk(&walk, order);
    do {
        for (int32_t i = 0; i < order->sizes[last]; i++) {
            const int32_t q = sq_value(input, walk.source + i * order->source[last], bits);
            output[walk.target + i * order->target[last]] = (float)(q - zero_point) * scale;
        }
    } while (sq_next_line(&walk));
}
