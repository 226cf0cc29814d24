#include "sq_multiply.h"
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

/* All rows of a group at the first `places` places of a panel. The first place's outputs begin at
 * value `target`, the next one's `stride` behind. */
static void sq_convolve_panel(const sq_matrix *matrix, const sq_panel *panel, int32_t places,
                              const sq_range *range, int32_t stride, uint8_t *output,
                              int32_t target)
{
    int32_t accumulators[SQ_COLUMNS * SQ_ROWS];
    for (int32_t first = 0; first < matrix->rows; first += SQ_ROWS) {
        const int32_t left = matrix->rows - first;
        const int32_t count = left < SQ_ROWS ? left : SQ_ROWS;
        sq_multiply(matrix, first, count, panel, accumulators);
        for (int32_t column = 0; column < places; column++)
            sq_requantize(accumulators + column * SQ_ROWS, count, matrix->multipliers + first,
                          range, output, target + column * stride + first);
    }
}

/* The weights of a group as 8-bit ones. */
static void sq_widen_matrix(sq_matrix *matrix, uint32_t *target)
{
    const uint32_t *words = matrix->words;
    const int32_t row_words = (matrix->length + 3) / 4;
    matrix->words = target;
    for (int32_t row = 0; row < matrix->rows; row += 2) {
        const int32_t rows = row + 1 < matrix->rows ? 2 : 1;
        for (int32_t i = 0; i < rows; i++)
            matrix->widen(words + i, matrix->length, rows, target + i);
        words += rows * matrix->row_words;
        target += rows * row_words;
    }
    matrix->row_words = row_words;
    matrix->bits = 8;
    matrix->widen = 0;
}

/* Gathers the inputs of up to panel->columns places; returns how many there are. */
static int32_t sq_fill_panel(const sq_convolution *layer, const uint8_t *input, int32_t channel,
                             int32_t place, sq_panel *panel)
{
    const int32_t left = layer->window.output_height * layer->window.output_width - place;
    const int32_t places = left < panel->columns ? left : panel->columns;
    for (int32_t column = 0; column < places; column++) {
        sq_cursor cursor;
        sq_begin_column(&cursor, panel, column, layer->bits);
        sq_gather(layer, input, channel, place + column, &cursor);
        sq_end_column(&cursor, panel, column);
    }
    return places;
}

void sq_convolve(const sq_convolution *layer, const uint8_t *input, uint8_t *output,
                 int16_t *scratch)
{
    const sq_window *window = &layer->window;
    const int32_t places = window->output_height * window->output_width;
    const int32_t rows = layer->matrix.rows, filters = rows * layer->groups;
    const int32_t fours = (layer->matrix.length + 3) / 4;
    uint32_t *widened = (uint32_t *)(void *)(scratch + layer->columns * fours * 4);
    sq_panel panel = {scratch, layer->columns, {0, 0}};
    for (int32_t group = 0; group < layer->groups; group++) {
        const int32_t channel = group * (window->channels / layer->groups);
        sq_matrix matrix = layer->matrix;
        matrix.words += group * layer->group_words;
        matrix.bias += group * rows;
        matrix.multipliers += group * rows;
        if (layer->widened_words != 0)
            sq_widen_matrix(&matrix, widened);
        for (int32_t place = 0; place < places; place += layer->columns) {
            const int32_t count = sq_fill_panel(layer, input, channel, place, &panel);
            sq_convolve_panel(&matrix, &panel, count, &layer->range, filters, output,
                              group * rows + place * filters);
        }
    }
}
