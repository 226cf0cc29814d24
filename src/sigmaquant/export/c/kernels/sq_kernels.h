/* Kernels of a SigmaQuant model: integers only, but for the two ends of the network.
 *
 * Values are integers q >= 0 that stand for scale * (q - zero_point). `bits` is what each takes in
 * memory: 8, or 4 or 2 where they are packed, the first in the lowest bits of a byte. Images are
 * stored channels last: element (c, y, x) is at (y * width + x) * channels + c. Sizes are in
 * elements.
 */
#ifndef SQ_KERNELS_H
#define SQ_KERNELS_H

#include <stdint.h>

#ifdef __FAST_MATH__
#error "The two ends of the network need IEEE float32: build without -ffast-math."
#endif

#define SQ_BLOCK 32    /* weights in a block of packed words */
#define SQ_COLUMNS 2   /* output places that are computed at once */
#define SQ_ROWS 16     /* accumulators of one place that are kept before they are requantized */
#define SQ_MOST_AXES 6 /* of a copy */

/* What a result is limited to, the integers of an encoding, and how each is stored. Accumulators
 * are shifted left by `lift` bits before they are multiplied, and their multipliers are as much
 * smaller: from 2^-14 up to 2^-1, or from 2^-32 for lifted accumulators of at most 2^22, so that
 * requantization is fast. Where no lift does that it is negative, and none takes place. */
typedef struct {
    int32_t zero_point;
    int32_t highest;
    int32_t bits;
    int32_t lift;
} sq_range;

/* How windows of a kernel lie on an image; `top` and `left` are the padding before it. */
typedef struct {
    int32_t height, width, channels;
    int32_t output_height, output_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x;
    int32_t dilation_y, dilation_x;
    int32_t top, left;
} sq_window;

/* Gathered inputs of up to SQ_COLUMNS places, and the sum of each.
 *
 * Columns are interleaved by fours of elements: the four that begins with element k of column c is
 * at values[k * columns + 4 * c], and holds its elements in the order first, third, second, fourth.
 * Where the kernel reaches beyond the image, an element is the input's zero point; behind the last
 * one, a four is filled with 0. `values` is aligned to a word. */
typedef struct {
    int16_t *values;
    int32_t columns;
    int32_t sums[SQ_COLUMNS];
} sq_panel;

/* Packed weights of a layer, (rows, length), with what belongs to each row.
 *
 * Rows 2i and 2i + 1 are interleaved word by word, so that one pointer walks both; a last odd row
 * stands alone. `bias` is less the input's zero point times the sum of the row's weights, so that
 * kernels take inputs as they are. `multipliers` are float32 numbers M * 2^(-24 - shift) as
 * integers: M, which has 24 bits, in bits 8 to 31, the shift, from -31 to 96, in the byte below. */
typedef struct sq_matrix sq_matrix;

/* Accumulators of rows first .. first + count - 1, with their bias, for every column of a panel:
 * accumulators[column * SQ_ROWS + row - first]. `first` and `count` are even. */
typedef void sq_dot(const sq_matrix *matrix, int32_t first, int32_t count, const sq_panel *panel,
                    int32_t *accumulators);

/* `count` weights of one row as 8-bit ones; words are `stride` apart in both. */
typedef void sq_widen(const uint32_t *words, int32_t count, int32_t stride, uint32_t *target);

struct sq_matrix {
    const uint32_t *words;
    const int32_t *bias;
    const uint32_t *multipliers;
    int32_t rows, length;
    int32_t bits, row_words;
    sq_dot *dot;
    sq_widen *widen; /* 0 where it is not needed: for 8 bits, or an even number of rows */
};

/* For panels of two columns, and of one. */
sq_dot sq_dot_w2, sq_dot_w3, sq_dot_w4, sq_dot_w5, sq_dot_w6, sq_dot_w7, sq_dot_w8;
sq_dot sq_dot_one_w2, sq_dot_one_w3, sq_dot_one_w4, sq_dot_one_w5, sq_dot_one_w6, sq_dot_one_w7,
    sq_dot_one_w8;

sq_widen sq_widen_w2, sq_widen_w3, sq_widen_w4, sq_widen_w5, sq_widen_w6, sq_widen_w7;

/* A convolution, or a fully connected layer as one with a kernel of 1 x 1.
 *
 * `matrix` holds the first group; the others follow, `group_words` apart. Its rows are in the
 * order (y, x, channel). `columns` is what `dot` takes. Where `widened_words` is not 0, the weights
 * of a group, then so many words of 8-bit ones, are widened before they are used, and `dot` takes
 * 8 bits. `scratch` has room for the panel: columns * (length rounded up to fours, or as many
 * elements as the words of a row have fields); then for these words. */
typedef struct {
    sq_window window;
    sq_matrix matrix;
    int32_t groups, group_words;
    int32_t columns, widened_words;
    int32_t zero_point, bits; /* of the input */
    sq_range range;
} sq_convolution;

void sq_convolve(const sq_convolution *layer, const uint8_t *input, uint8_t *output,
                 int16_t *scratch);

/* A fully connected layer over the last axis, whose results are float32:
 * accumulator * scales[row]. `scratch` as for sq_convolve. */
typedef struct {
    sq_matrix matrix;
    const float *scales;
    int32_t places;
    int32_t bits; /* of the input */
} sq_float_layer;

void sq_multiply_to_float(const sq_float_layer *layer, const uint8_t *input, float *output,
                          int16_t *scratch);

/* A convolution with one filter a channel.
 *
 * Channels are worked on SQ_BLOCK at a time. The weights of each such block are one row in the order
 * (y, x, channel), block_words long; `bias` and `multipliers` are as in sq_matrix. `scratch` is
 * aligned for pointers and holds, where c is the number of channels, SQ_BLOCK at most, rounded up
 * to fours: a pointer for each tap of the kernel, 8 * c bytes and 2 * c more for each tap, c bytes; c
 * more for each tap where weights have to be widened, and where the input is packed. */
typedef struct {
    sq_window window;
    const uint32_t *words;
    sq_widen *widen; /* 0 for 8 bits */
    int32_t block_words;
    const int32_t *bias;
    const uint32_t *multipliers;
    int32_t zero_point, bits; /* of the input */
    sq_range range;
} sq_depthwise;

void sq_convolve_depthwise(const sq_depthwise *layer, const uint8_t *input, uint8_t *output,
                           void *scratch);

/* (left * left_ratio + right * right_ratio + constant) / 2^fraction_bits, half to even. The
 * output may be one of the inputs. */
typedef struct {
    int32_t count;
    int32_t left_ratio, right_ratio, constant;
    int32_t fraction_bits;
    int32_t highest;
} sq_sum;

void sq_add(const sq_sum *sum, const uint8_t *left, const uint8_t *right, uint8_t *output);

/* As sq_add, of which some values are packed. The output may be an input of no fewer bits. */
typedef struct {
    sq_sum sum;
    int32_t left_bits, right_bits, output_bits;
} sq_packed_sum;

void sq_add_packed(const sq_packed_sum *packed, const uint8_t *left, const uint8_t *right,
                   uint8_t *output);

/* output[i] = table[input[i]]; the output may be the input. */
void sq_look_up(const uint8_t *table, int32_t count, const uint8_t *input, uint8_t *output);

/* The same with packed values. The output may be an input of no fewer bits. */
void sq_look_up_packed(const uint8_t *table, int32_t count, int32_t input_bits,
                       const uint8_t *input, int32_t output_bits, uint8_t *output);

/* Limited to low .. high; the output may be the input. */
void sq_clamp(int32_t low, int32_t high, int32_t count, const uint8_t *input, uint8_t *output);

void sq_max_pool(const sq_window *window, const uint8_t *input, uint8_t *output);

/* The same with packed values. */
void sq_max_pool_packed(const sq_window *window, int32_t bits, const uint8_t *input,
                        uint8_t *output);

/* Means over windows, requantized; padding counts as real zero. */
typedef struct {
    sq_window window;
    uint32_t multiplier;
    int32_t zero_point, bits; /* of the input */
    sq_range range;
} sq_average;

void sq_average_pool(const sq_average *pool, const uint8_t *input, uint8_t *output);

/* The same with a packed input. */
void sq_average_pool_packed(const sq_average *pool, const uint8_t *input, uint8_t *output);

/* A copy between two orders of elements: `strides` of source and target, axis by axis. */
typedef struct {
    int32_t axes; /* at least 1 */
    int32_t sizes[SQ_MOST_AXES];
    int32_t source[SQ_MOST_AXES];
    int32_t target[SQ_MOST_AXES];
} sq_order;

void sq_copy(const sq_order *order, const uint8_t *input, uint8_t *output);

/* The same with packed values, from value `source` of the input to value `target` of the output. */
void sq_copy_packed(const sq_order *order, int32_t bits, const uint8_t *input, int32_t source,
                    uint8_t *output, int32_t target);

/* `count` bytes. */
void sq_fill(int32_t value, int32_t count, uint8_t *output);

/* clamp(round_half_even(x / scale) + zero_point); NaN gives 0. */
void sq_quantize(const sq_order *order, float scale, const sq_range *range, const float *input,
                 uint8_t *output);

/* exp(x) / sum of exp(x), row by row; the output may be the input. */
void sq_softmax(int32_t rows, int32_t length, const float *input, float *output);

/* scale * (q - zero_point). */
void sq_dequantize(const sq_order *order, float scale, int32_t zero_point, int32_t bits,
                   const uint8_t *input, float *output);

#endif
