#include "sq_lanes.h"
#include "sq_requantize.h"
#include "sq_values.h"

#define SQ_FOUR_BIASES 4
#define SQ_FOUR_MULTIPLIERS 4
#define SQ_3X3 9 /* taps of most kernels, for which the loop over them is written out */

/* A block of channels, and what is in scratch for it. */
typedef struct {
    const sq_depthwise *layer;
    int32_t channel, channels; /* its first and their number */
    int32_t count;             /* of taps */
    const uint8_t **taps;      /* where the inputs of each begin; padding has its own */
    uint32_t *fours;           /* see sq_spread_four */
    uint8_t *padding, *values;
} sq_channels;

/* Words of four channels in scratch. */
SQ_INLINE int32_t sq_four_words(int32_t count)
{
    return SQ_FOUR_BIASES + 2 * count + SQ_FOUR_MULTIPLIERS;
}

/* Bytes 0 and 2 of a word as signed lanes, less 128: with the lanes' highest bits flipped before and
 * after, nothing is carried from one to the other. */
SQ_INLINE uint32_t sq_signed_lanes(uint32_t word)
{
    return ((word & 0x00FF00FFu) + 0x7F807F80u) ^ 0x80008000u;
}

/* All that four channels need, in the order in which they need it: their biases; for each tap a word
 * with the weights of the first and the third as 16-bit lanes, and one with those of the second and
 * the fourth; their multipliers. The last of them may be fewer, `count` of which are there. */
static void sq_spread_four(const sq_channels *block, const uint32_t *words, int32_t i)
{
    const sq_depthwise *layer = block->layer;
    const int32_t left = block->channels - i, count = left < 4 ? left : 4;
    uint32_t *four = block->fours + (i >> 2) * sq_four_words(block->count);
    int32_t index = i;
    for (int32_t j = 0; j < count; j++) {
        four[j] = (uint32_t)layer->bias[block->channel + i + j];
        four[SQ_FOUR_BIASES + 2 * block->count + j] = layer->multipliers[block->channel + i + j];
    }
    four += SQ_FOUR_BIASES;
    for (int32_t tap = block->count; tap > 0; tap--) {
        uint32_t word = words[index >> 2];
        if ((block->channels & 3) != 0) { /* fours begin within words */
            word = 0;
            for (int32_t j = 0; j < count; j++)
                word |= (words[(index + j) >> 2] >> (8 * ((index + j) & 3)) & 0xFFu) << (8 * j);
        }
        four[0] = sq_signed_lanes(word);
        four[1] = sq_signed_lanes(word >> 8);
        four += 2;
        index += block->channels;
    }
}

/* Finds the inputs of the place (y, x) of the input, tap by tap. */
SQ_NOINLINE void sq_find_taps(const sq_channels *block, const uint8_t *input, int32_t y, int32_t x)
{
    const sq_window *w = &block->layer->window;
    const uint8_t *const padding = block->padding;
    const uint8_t **tap = block->taps;
    const int32_t step = w->dilation_x * w->channels;
    for (int32_t ky = w->kernel_height; ky > 0; ky--) {
        /* As if the image had no width where the row is outside. */
        const uint32_t width = y >= 0 && y < w->height ? (uint32_t)w->width : 0;
        int32_t first = (y * w->width + x) * w->channels + block->channel;
        int32_t column = x;
        for (int32_t kx = w->kernel_width; kx > 0; kx--) {
            *tap++ = (uint32_t)column < width ? input + first : padding;
            column += w->dilation_x;
            first += step;
        }
        y += w->dilation_y;
    }
}

/* The same for a packed input, whose values go to bytes. */
SQ_NOINLINE void sq_unpack_taps(const sq_channels *block, const uint8_t *input, int32_t y, int32_t x)
{
    const sq_window *w = &block->layer->window;
    uint8_t *values = block->values;
    int32_t tap = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++, y += w->dilation_y) {
        int32_t column = x;
        for (int32_t kx = 0; kx < w->kernel_width; kx++, column += w->dilation_x) {
            const int32_t first = (y * w->width + column) * w->channels + block->channel;
            block->taps[tap] = block->padding;
            if (y >= 0 && y < w->height && column >= 0 && column < w->width) {
                sq_load_values(input, first, block->channels, block->layer->bits, values);
                block->taps[tap] = values;
                values += block->channels;
            }
            tap++;
        }
    }
}

#if SQ_DSP

#define SQ_TAP_MACS(X, W02, W13)                                                                  \
    "uxtb16 %[x02], %[" X "]\n\t"                                                                 \
    "uxtb16 %[" X "], %[" X "], ror #8\n\t"                                                       \
    "smlabb %[s0], %[x02], %[" W02 "], %[s0]\n\t"                                                 \
    "smlatt %[s2], %[x02], %[" W02 "], %[s2]\n\t"                                                 \
    "smlabb %[s1], %[" X "], %[" W13 "], %[s1]\n\t"                                               \
    "smlatt %[s3], %[" X "], %[" W13 "], %[s3]\n\t"

/* All loads of two taps: in a row, or, on a core that issues two instructions at once, among the
 * products. */
#if SQ_DUAL_ISSUE
#define SQ_TWO_TAPS                                                                               \
    "ldr %[x], [%[taps]], #4\n\t"                                                                 \
    "ldr %[y], [%[taps]], #4\n\t"                                                                 \
    "ldr %[x], [%[x], %[offset]]\n\t"                                                             \
    "ldrd %[w02], %[w13], [%[weights]], #8\n\t"                                                   \
    "uxtb16 %[x02], %[x]\n\t"                                                                     \
    "ldr %[y], [%[y], %[offset]]\n\t"                                                             \
    "uxtb16 %[x], %[x], ror #8\n\t"                                                               \
    "ldrd %[v02], %[v13], [%[weights]], #8\n\t"                                                   \
    "smlabb %[s0], %[x02], %[w02], %[s0]\n\t"                                                     \
    "smlatt %[s2], %[x02], %[w02], %[s2]\n\t"                                                     \
    "uxtb16 %[x02], %[y]\n\t"                                                                     \
    "smlabb %[s1], %[x], %[w13], %[s1]\n\t"                                                       \
    "uxtb16 %[y], %[y], ror #8\n\t"                                                               \
    "smlatt %[s3], %[x], %[w13], %[s3]\n\t"                                                       \
    "smlabb %[s0], %[x02], %[v02], %[s0]\n\t"                                                     \
    "smlatt %[s2], %[x02], %[v02], %[s2]\n\t"                                                     \
    "smlabb %[s1], %[y], %[v13], %[s1]\n\t"                                                       \
    "smlatt %[s3], %[y], %[v13], %[s3]\n\t"
#else
#define SQ_TWO_TAPS                                                                               \
    "ldr %[x], [%[taps]], #4\n\t"                                                                 \
    "ldr %[y], [%[taps]], #4\n\t"                                                                 \
    "ldr %[w02], [%[weights]], #4\n\t"                                                            \
    "ldr %[x], [%[x], %[offset]]\n\t"                                                             \
    "ldr %[w13], [%[weights]], #4\n\t"                                                            \
    "ldr %[y], [%[y], %[offset]]\n\t"                                                             \
    "ldr %[v02], [%[weights]], #4\n\t"                                                            \
    "ldr %[v13], [%[weights]], #4\n\t"                                                            \
    SQ_TAP_MACS("x", "w02", "w13") SQ_TAP_MACS("y", "v02", "v13")
#endif

#endif

/* Lane 0 or 1 of a word as a signed number, modulo 2^32. */
SQ_INLINE uint32_t sq_lane(uint32_t lanes, int32_t lane)
{
    const uint32_t bits = lanes >> (16 * lane) & 0xFFFFu;
    return (bits ^ 0x8000u) - 0x8000u;
}

/* What one tap adds to four channels, `offset` behind it; goes on to the next tap. */
SQ_INLINE void sq_add_tap(sq_quad *sums, const uint8_t *const **taps, int32_t offset,
                          const uint32_t **weights)
{
#if SQ_DSP
    uint32_t x, x02, w02, w13;
    __asm__ volatile("ldr %[x], [%[taps]], #4\n\t"
                     "ldr %[w02], [%[weights]], #4\n\t"
                     "ldr %[x], [%[x], %[offset]]\n\t"
                     "ldr %[w13], [%[weights]], #4\n\t" SQ_TAP_MACS("x", "w02", "w13")
                     : [s0] "+r"(sums->s0), [s1] "+r"(sums->s1), [s2] "+r"(sums->s2),
                       [s3] "+r"(sums->s3), [taps] "+r"(*taps), [weights] "+r"(*weights),
                       [x] "=&r"(x), [x02] "=&r"(x02), [w02] "=&r"(w02), [w13] "=&r"(w13)
                     : [offset] "r"(offset)
                     : "memory");
#else /* modulo 2^32, which the bias, less a product, may need */
    const uint8_t *x = *(*taps)++ + offset;
    const uint32_t w02 = (*weights)[0], w13 = (*weights)[1];
    *weights += 2;
    sums->s0 = (int32_t)((uint32_t)sums->s0 + x[0] * sq_lane(w02, 0));
    sums->s1 = (int32_t)((uint32_t)sums->s1 + x[1] * sq_lane(w13, 0));
    sums->s2 = (int32_t)((uint32_t)sums->s2 + x[2] * sq_lane(w02, 1));
    sums->s3 = (int32_t)((uint32_t)sums->s3 + x[3] * sq_lane(w13, 1));
#endif
}

/* The same for two taps. */
SQ_INLINE void sq_add_two_taps(sq_quad *sums, const uint8_t *const **taps, int32_t offset,
                               const uint32_t **weights)
{
#if SQ_DSP
    uint32_t x, x02, y, w02, w13, v02, v13;
    __asm__ volatile(SQ_TWO_TAPS
                     : [s0] "+r"(sums->s0), [s1] "+r"(sums->s1), [s2] "+r"(sums->s2),
                       [s3] "+r"(sums->s3), [taps] "+r"(*taps), [weights] "+r"(*weights),
                       [x] "=&r"(x), [x02] "=&r"(x02), [y] "=&r"(y), [w02] "=&r"(w02),
                       [w13] "=&r"(w13), [v02] "=&r"(v02), [v13] "=&r"(v13)
                     : [offset] "r"(offset)
                     : "memory");
#else
    sq_add_tap(sums, taps, offset, weights);
    sq_add_tap(sums, taps, offset, weights);
#endif
}

/* The biases of four channels; goes on to their weights. */
SQ_INLINE sq_quad sq_begin_four(const uint32_t **four)
{
    uint32_t b0, b1, b2, b3;
    sq_load_two(*four, 0, &b0, &b1);
    sq_load_two(*four, 8, &b2, &b3);
    *four += SQ_FOUR_BIASES;
    return (sq_quad){(int32_t)b0, (int32_t)b1, (int32_t)b2, (int32_t)b3};
}

/* Whole fours of channels with 3 x 3 taps at `places` places side by side, to all integers of 8
 * bits. The taps are those of the first place, and move with the places where there are several. A
 * function of its own, so that its inner loop has all registers; that loop goes through the
 * channels, for whose weights one pointer runs on. */
SQ_NOINLINE void sq_convolve_3x3(const sq_channels *block, int32_t places, uint8_t *output)
{
    const sq_window *w = &block->layer->window;
    const int32_t channels = block->channels, stride = w->channels;
    const int32_t step = w->stride_x * stride - channels;
    const int32_t zero_point = block->layer->range.zero_point;
    int32_t offset = 0;
    for (; places > 0; places--) {
        const uint8_t *const *tap = block->taps;
        const uint32_t *next = block->fours;
        uint8_t *target = output;
        for (int32_t left = channels; left > 0; left -= 4) {
            sq_quad sums = sq_begin_four(&next);
            sq_add_two_taps(&sums, &tap, offset, &next);
            sq_add_two_taps(&sums, &tap, offset, &next);
            sq_add_two_taps(&sums, &tap, offset, &next);
            sq_add_two_taps(&sums, &tap, offset, &next);
            sq_add_tap(&sums, &tap, offset, &next);
            next = sq_requantize_four(sums, next, zero_point, SQ_NO_LIMIT, target);
            tap -= SQ_3X3;
            offset += 4;
            target += 4;
        }
        offset += step;
        output += stride;
    }
}

/* Channel `i` of a block at the place of the taps. */
static int32_t sq_sum_one(const sq_channels *block, int32_t i)
{
    const uint32_t *four = block->fours + (i >> 2) * sq_four_words(block->count);
    uint32_t sum = four[i & 3];
    four += SQ_FOUR_BIASES + (i & 1);
    for (int32_t tap = 0; tap < block->count; tap++)
        sum += block->taps[tap][i] * sq_lane(four[2 * tap], i >> 1 & 1);
    return (int32_t)sum;
}

/* All channels of a block at the place of the taps, to value `target` of the output on. */
SQ_NOINLINE void sq_convolve_place(const sq_channels *block, uint8_t *output, int32_t target)
{
    const sq_depthwise *layer = block->layer;
    const uint32_t *next = block->fours;
    int32_t count = 4;
    for (int32_t i = 0; i < block->channels; i += count) {
        sq_quad sums = {0, 0, 0, 0};
        if (i + 4 <= block->channels) {
            const uint8_t *const *taps = block->taps;
            sums = sq_begin_four(&next);
            for (int32_t tap = block->count; tap > 0; tap--)
                sq_add_tap(&sums, &taps, i, &next);
            next += SQ_FOUR_MULTIPLIERS;
        } else {
            sums.s0 = sq_sum_one(block, i);
            count = 1;
        }
        const int32_t accumulators[4] = {sums.s0, sums.s1, sums.s2, sums.s3};
        sq_requantize(accumulators, count, layer->multipliers + block->channel + i, &layer->range,
                      output, target + i);
    }
}

/* How many of `left` places side by side, from that of (y, x) of the input on, have all their taps in
 * the image, so that the taps only move; 1 for any other place. */
static int32_t sq_places_inside(const sq_depthwise *layer, int32_t y, int32_t x, int32_t left)
{
    const sq_window *w = &layer->window;
    const int32_t last_x = w->width - 1 - (w->kernel_width - 1) * w->dilation_x;
    const int32_t last_y = w->height - 1 - (w->kernel_height - 1) * w->dilation_y;
    if (y < 0 || y > last_y || x < 0 || x > last_x)
        return 1;
    const int32_t places = (last_x - x) / w->stride_x + 1;
    return places < left ? places : left;
}

/* A block of channels at all places. */
static void sq_convolve_block(const sq_channels *block, const uint8_t *input, uint8_t *output)
{
    const sq_depthwise *layer = block->layer;
    const sq_window *w = &layer->window;
    const int32_t is_3x3 = block->count == SQ_3X3 && block->channels % 4 == 0 &&
                           layer->range.lift == 0 && layer->range.highest == 255;
    int32_t target = block->channel;
    for (int32_t oy = 0; oy < w->output_height; oy++) {
        const int32_t y = oy * w->stride_y - w->top;
        int32_t places = 1;
        for (int32_t ox = 0; ox < w->output_width; ox += places) {
            const int32_t x = ox * w->stride_x - w->left;
            if (sq_share_bytes(layer->bits))
                sq_unpack_taps(block, input, y, x);
            else
                sq_find_taps(block, input, y, x);
            if (is_3x3) {
                if (!sq_share_bytes(layer->bits))
                    places = sq_places_inside(layer, y, x, w->output_width - ox);
                sq_convolve_3x3(block, places, output + target);
            } else {
                sq_convolve_place(block, output, target);
            }
            target += places * w->channels;
        }
    }
}

void sq_convolve_depthwise(const sq_depthwise *layer, const uint8_t *input, uint8_t *output,
                           void *scratch)
{
    const sq_window *w = &layer->window;
    const int32_t count = w->kernel_height * w->kernel_width;
    const uint32_t *words = layer->words;
    sq_channels block = {layer, 0, 0, count, scratch, 0, 0, 0};
    block.fours = (uint32_t *)(void *)(block.taps + count);
    for (; block.channel < w->channels; block.channel += SQ_BLOCK) {
        const int32_t left = w->channels - block.channel;
        const uint32_t *bytes = words;
        block.channels = left < SQ_BLOCK ? left : SQ_BLOCK;
        const int32_t row = (block.channels + 3) & ~3;
        block.padding = (uint8_t *)(block.fours + row / 4 * sq_four_words(count));
        block.values = block.padding + row;
        memset(block.padding, (uint8_t)layer->zero_point, (uint32_t)row);
        if (layer->widen != 0) {
            uint32_t *widened = (uint32_t *)(void *)block.values;
            layer->widen(words, count * block.channels, 1, widened);
            block.values += count * row;
            bytes = widened;
        }
        for (int32_t i = 0; i < block.channels; i += 4)
            sq_spread_four(&block, bytes, i);
        sq_convolve_block(&block, input, output);
        words += layer->block_words;
    }
}
