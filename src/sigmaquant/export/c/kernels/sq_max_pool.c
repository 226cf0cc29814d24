#include "sq_kernels.h"

/* The maximum of one channel over a window that begins at (y, x); 0 where it lies outside. */
static uint8_t sq_maximum(const sq_window *w, const uint8_t *input, int32_t y, int32_t x)
{
    uint8_t largest = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_y;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_x;
            if (row >= 0 && row < w->height && column >= 0 && column < w->width) {
                const uint8_t value = input[(row * w->width + column) * w->channels];
                largest = value > largest ? value : largest;
            }
        }
    }
    return largest;
}

void sq_max_pool(const sq_window *window, const uint8_t *input, uint8_t *output)
{
    for (int32_t oy = 0; oy < window->output_height; oy++) {
        for (int32_t ox = 0; ox < window->output_width; ox++) {
            const int32_t y = oy * window->stride_y - window->top;
            const int32_t x = ox * window->stride_x - window->left;
            for (int32_t channel = 0; channel < window->channels; channel++)
                *output++ = sq_maximum(window, input + channel, y, x);
        }
    }
}
