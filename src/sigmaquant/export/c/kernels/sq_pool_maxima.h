/* Maxima over windows, where `bits` may be a constant: reading a byte is then no more than that. */
#ifndef SQ_POOL_MAXIMA_H
#define SQ_POOL_MAXIMA_H

#include "sq_values.h"

/* The maximum of one channel over a window that begins at (y, x); 0 where it lies outside. */
SQ_INLINE int32_t sq_maximum(const sq_window *w, int32_t bits, const uint8_t *input,
                             int32_t channel, int32_t y, int32_t x)
{
    int32_t largest = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_y;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_x;
            if (row >= 0 && row < w->height && column >= 0 && column < w->width) {
                const int32_t place = (row * w->width + column) * w->channels;
                const int32_t value = sq_value(input, place + channel, bits);
                largest = value > largest ? value : largest;
            }
        }
    }
    return largest;
}

SQ_INLINE void sq_pool_maxima(const sq_window *window, int32_t bits, const uint8_t *input,
                              uint8_t *output)
{
    int32_t index = 0;
    for (int32_t oy = 0; oy < window->output_height; oy++) {
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t y = oy * window->stride_y - window->top;
            const int32_t x = ox * window->stride_x - window->left;
            for (int32_t channel = 0; channel < window->channels; channel++)
                sq_set_value(output, index++, bits,
                             sq_maximum(window, bits, input, channel, y, x));
        }
    }
}

#endif
