/* Means over windows, where `bits` may be a constant: reading a byte is then no more than that. */
#ifndef SQ_POOL_MEANS_H
#define SQ_POOL_MEANS_H

#include "sq_requantize.h"
#include "sq_values.h"

/* The sum of one channel over a window that begins at (y, x), less the zero points. */
SQ_INLINE int32_t sq_window_sum(const sq_average *pool, int32_t bits, const uint8_t *input,
                                int32_t channel, int32_t y, int32_t x)
{
    const sq_window *w = &pool->window;
    int32_t sum = 0;
    for (int32_t row = y; row < y + w->kernel_height; row++) {
        for (int32_t column = x; column < x + w->kernel_width; column++) {
            const int32_t place = (row * w->width + column) * w->channels;
            if (row >= 0 && row < w->height && column >= 0 && column < w->width)
                sum += sq_value(input, place + channel, bits) - pool->zero_point;
        }
    }
    return sum;
}

SQ_INLINE void sq_pool_means(const sq_average *pool, int32_t bits, const uint8_t *input,
                             uint8_t *output)
{
    const sq_window *w = &pool->window;
    int32_t index = 0;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        for (int32_t ox = 0; ox < w->output_width; ox++) {
            const int32_t y = oy * w->stride_y - w->top;
            const int32_t x = ox * w->stride_x - w->left;
            for (int32_t channel = 0; channel < w->channels; channel++) {
                const int32_t sum = sq_window_sum(pool, bits, input, channel, y, x);
                sq_requantize(&sum, 1, &pool->multiplier, &pool->range, output, index++);
            }
        }
    }
}

#endif
