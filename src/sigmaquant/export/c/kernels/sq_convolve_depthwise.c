#include "sq_lanes.h"
#include "sq_requantize.h"
#include "sq_values.h"

/* Where the inputs of a place begin, tap by tap; padding reads `zeros`. */
static void sq_find_taps(const sq_window *w, const uint8_t *input, int32_t place,
                         const uint8_t *zeros, const uint8_t **taps)
{
    const int32_t y = place / w->output_width * w->stride_y - w->top;
    const int32_t x = place % w->output_width * w->stride_x - w->left;
    const int32_t end = x + w->kernel_width * w->dilation_x;
    const int32_t step = w->dilation_x * w->channels;
    const int32_t inside = x >= 0 && end - w->dilation_x < w->width;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_y;
        const int32_t hit = row >= 0 && row < w->height;
        int32_t tap = (row * w->width + x) * w->channels;
        if (hit && inside) {
            for (int32_t kx = w->kernel_width; kx > 0; kx--) {
                *taps++ = input + tap;
                tap += step;
            }
        } else {
            for (int32_t column = x; column < end; column += w->dilation_x) {
                *taps++ = hit && column >= 0 && column < w->width ? input + tap : zeros;
                tap += step;
            }
        }
    }
}

/* As sq_find_taps for a packed input, whose values go to `values`. */
static void sq_unpack_taps(const sq_depthwise *layer, const uint8_t *input, int32_t place,
                           const uint8_t *zeros, uint8_t *values, const uint8_t **taps)
{
    const sq_window *w = &layer->window;
    const int32_t y = place / w->output_width * w->stride_y - w->top;
    const int32_t x = place % w->output_width * w->stride_x - w->left;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_y;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_x;
            const int32_t first = (row * w->width + column) * w->channels;
            if (row >= 0 && row < w->height && column >= 0 && column < w->width) {
                sq_load_values(input, first, w->channels, layer->bits, values);
                *taps++ = values;
                values += w->channels;
            } else {
                *taps++ = zeros;
            }
        }
    }
}

/* Sums of four channels. */
typedef struct {
    int32_t s0, s1, s2, s3;
} sq_quad;

/* Modulo 2^32, as the bias, which is less a multiple of the weights, may need. */
SQ_INLINE int32_t sq_wrapped_sum(int32_t left, int32_t right)
{
    return (int32_t)((uint32_t)left + (uint32_t)right);
}

/* What one tap adds to four channels. */
SQ_INLINE void sq_add_tap(sq_quad *sums, const uint8_t *x, const int8_t *weights)
{
#if SQ_DSP
    uint32_t values, factors;
    memcpy(&values, x, sizeof values);
    memcpy(&factors, weights, sizeof factors);
    const int16x2_t x02 = (int16x2_t)__uxtb16(values), w02 = __sxtb16((int8x4_t)factors);
    const int16x2_t x13 = (int16x2_t)sq_odd_bytes(values);
    const int16x2_t w13 = (int16x2_t)sq_odd_signed_bytes(factors);
    sums->s0 = __smlabb(x02, w02, sums->s0);
    sums->s1 = __smlabb(x13, w13, sums->s1);
    sums->s2 = __smlatt(x02, w02, sums->s2);
    sums->s3 = __smlatt(x13, w13, sums->s3);
    sq_keep_order();
#else
    sums->s0 = sq_wrapped_sum(sums->s0, x[0] * weights[0]);
    sums->s1 = sq_wrapped_sum(sums->s1, x[1] * weights[1]);
    sums->s2 = sq_wrapped_sum(sums->s2, x[2] * weights[2]);
    sums->s3 = sq_wrapped_sum(sums->s3, x[3] * weights[3]);
#endif
}

/* Four channels from `channel` on, three taps at a time: kernels have mostly 3 x 3. */
static void sq_sum_four(const sq_depthwise *layer, const uint8_t *const *taps, int32_t count,
                        const int8_t *weights, int32_t channel, int32_t *accumulators)
{
    const int32_t channels = layer->window.channels;
    const int32_t *bias = layer->bias + channel;
    sq_quad sums = {bias[0], bias[1], bias[2], bias[3]};
    weights += channel;
    for (; count >= 3; count -= 3) {
        sq_add_tap(&sums, taps[0] + channel, weights);
        sq_add_tap(&sums, taps[1] + channel, weights + channels);
        sq_add_tap(&sums, taps[2] + channel, weights + 2 * channels);
        taps += 3;
        weights += 3 * channels;
    }
    for (; count > 0; count--) {
        sq_add_tap(&sums, *taps++ + channel, weights);
        weights += channels;
    }
    accumulators[0] = sums.s0;
    accumulators[1] = sums.s1;
    accumulators[2] = sums.s2;
    accumulators[3] = sums.s3;
}

static int32_t sq_sum_one(const sq_depthwise *layer, const uint8_t *const *taps, int32_t count,
                          const int8_t *weights, int32_t channel)
{
    int32_t sum = layer->bias[channel];
    weights += channel;
    for (; count > 0; count--) {
        sum = sq_wrapped_sum(sum, (*taps++)[channel] * *weights);
        weights += layer->window.channels;
    }
    return sum;
}

void sq_convolve_depthwise(const sq_depthwise *layer, const uint8_t *input, uint8_t *output,
                           void *scratch)
{
    const sq_window *window = &layer->window;
    const int32_t channels = window->channels;
    const int32_t count = window->kernel_height * window->kernel_width;
    const int32_t places = window->output_height * window->output_width;
    const uint8_t **taps = scratch;
    int8_t *weights = (int8_t *)(taps + count);
    uint8_t *zeros = (uint8_t *)(weights + count * channels);
    int32_t index = 0;
    layer->unpack(layer->words, count * channels, weights);
    memset(zeros, (uint8_t)layer->zero_point, (uint32_t)channels);
    for (int32_t place = 0; place < places; place++) {
        if (layer->bits == 8)
            sq_find_taps(window, input, place, zeros, taps);
        else
            sq_unpack_taps(layer, input, place, zeros, zeros + channels, taps);
        for (int32_t first = 0; first < channels; first += SQ_ROWS) {
            int32_t sums[SQ_ROWS];
            const int32_t part = channels - first < SQ_ROWS ? channels - first : SQ_ROWS;
            int32_t i = 0;
            for (; i + 4 <= part; i += 4)
                sq_sum_four(layer, taps, count, weights, first + i, sums + i);
            for (; i < part; i++)
                sums[i] = sq_sum_one(layer, taps, count, weights, first + i);
            sq_requantize(sums, part, layer->multipliers + first, &layer->range, output, index);
            index += part;
        }
    }
}
