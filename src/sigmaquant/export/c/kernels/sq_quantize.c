#include "sq_values.h"
#include "sq_walk.h"

/* Half to even, limited to +-1024, which is far outside of any encoding; NaN gives the lowest. */
static int32_t sq_rounded(float value)
{
    if (!(value > -1024.0f))
        return -1024;
    if (value > 1024.0f)
        return 1024;
    const int32_t whole = (int32_t)value;
    const float rest = value - (float)whole; /* exact */
    if (rest > 0.5f || (rest == 0.5f && (whole & 1) != 0))
        return whole + 1;
    if (rest < -0.5f || (rest == -0.5f && (whole & 1) != 0))
        return whole - 1;
    return whole;
}

void sq_quantize(const sq_order *order, float scale, const sq_range *range, const float *input,
                 uint8_t *output)
{
    const int32_t last = order->axes - 1;
    sq_walk walk;
    sq_begin_walk(&walk, order);
    do {
        for (int32_t i = 0; i < order->sizes[last]; i++) {
            const float ratio = input[walk.source + i * order->source[last]] / scale;
            const int32_t q = sq_rounded(ratio) + range->zero_point;
            sq_set_value(output, walk.target + i * order->target[last], range->bits,
                         q < 0 ? 0 : q > range->highest ? range->highest : q);
        }
    } while (sq_next_line(&walk));
}
