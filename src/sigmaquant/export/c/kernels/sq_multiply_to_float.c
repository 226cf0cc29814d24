#include "sq_multiply.h"
#include "sq_panel.h"

void sq_multiply_to_float(const sq_float_layer *layer, const uint8_t *input, float *output,
                          int16_t *scratch)
{
    const sq_matrix *matrix = &layer->matrix;
    sq_panel panel = {scratch, 1, {0, 0}};
    sq_cursor cursor;
    int32_t accumulators[SQ_COLUMNS * SQ_ROWS];
    for (int32_t place = 0; place < layer->places; place++) {
        sq_begin_column(&cursor, &panel, 0, layer->bits);
        sq_put(&cursor, input, place * matrix->length, matrix->length);
        sq_end_column(&cursor, &panel, 0);
        for (int32_t first = 0; first < matrix->rows; first += SQ_ROWS) {
            const int32_t left = matrix->rows - first;
            const int32_t count = left < SQ_ROWS ? left : SQ_ROWS;
            sq_multiply(matrix, first, count, &panel, accumulators);
            for (int32_t row = 0; row < count; row++)
                *output++ = (float)accumulators[row] * layer->scales[first + row];
        }
    }
}
