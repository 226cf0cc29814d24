#include "sq_panel.h"
#include "sq_requantize.h"

/* The inputs of one output place of the group whose first channel is `channel`. */
static void sq_gather(const sq_convolution *layer, const uint8_t *input, int32_t channel,
                      int32_t place, sq_cursor *cursor)
{
    const sq_window *w = &layer->window;
    const int32_t channels = w->channels / layer->groups;
    const int32_t y = place / w->output_width * w->stride_y - w->top;
    const int32_t x = place % w->output_width * w->stride_x - w->left;
    const int32_t reach = (w->kernel_width - 1) * w->dilation_x;
    /* Taps of a row that lie side by side in memory are one run. */
    const int32_t joined = channels == w->channels && w->dilation_x == 1;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_y;
        const int32_t line = (row * w->width + x) * w->channels + channel;
        if (row < 0 || row >= w->height) {
            sq_put_padding(cursor, w->kernel_width * channels, layer->zero_point);
        } else if (joined && x >= 0 && x + reach < w->width) {
            sq_put(cursor, input, line, w->kernel_width * channels);
        } else {
            for (int32_t kx = 0; kx <= reach; kx += w->dilation_x) {
                if (x + kx < 0 || x + kx >= w->width)
                    sq_put_padding(cursor, channels, layer->zero_point);
                else
                    sq_put(cursor, input, line + kx * w->channels, channels);
            }
        }
    }
}

/* All rows of a group at the places of a panel. The first place's outputs begin at value
 * `target`, the next one's `stride` behind. */
static void sq_convolve_panel(const sq_matrix *matrix, const sq_panel *panel,
                              const sq_range *range, int32_t stride, uint8_t *output,
                              int32_t target)
{
    int32_t accumulators[SQ_COLUMNS * SQ_ROWS];
    for (int32_t first = 0; first < matrix->rows; first += SQ_ROWS) {
        const int32_t left = matrix->rows - first;
        const int32_t count = left < SQ_ROWS ? left : SQ_ROWS;
        matrix->dot(matrix, first, count, panel, accumulators);
        for (int32_t column = 0; column < panel->columns; column++)
            sq_requantize(accumulators + column * SQ_ROWS, count, matrix->multipliers + first,
                          range, output, target + column * stride + first);
    }
}

void sq_convolve(const sq_convolution *layer, const uint8_t *input, uint8_t *output,
                 int16_t *scratch)
{
    const sq_window *window = &layer->window;
    const int32_t places = window->output_height * window->output_width;
    const int32_t filters = layer->matrix.rows * layer->groups;
    sq_matrix matrix = layer->matrix;
    sq_panel panel = {scratch, SQ_COLUMNS, {0, 0}};
    sq_cursor cursor;
    for (int32_t group = 0; group < layer->groups; group++) {
        const int32_t channel = group * (window->channels / layer->groups);
        const int32_t target = group * matrix.rows;
        for (int32_t place = 0; place < places; place += SQ_COLUMNS) {
            panel.columns = place + 1 < places ? SQ_COLUMNS : 1;
            for (int32_t column = 0; column < panel.columns; column++) {
                sq_begin_column(&cursor, &panel, column, layer->bits);
                sq_gather(layer, input, channel, place + column, &cursor);
                panel.sums[column] = cursor.sum;
            }
            sq_convolve_panel(&matrix, &panel, &layer->range, filters, output,
                              target + place * filters);
        }
        matrix.words += layer->group_words;
        matrix.bias += matrix.rows;
        matrix.multipliers += matrix.rows;
    }
}
