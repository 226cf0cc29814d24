/* Gathering of inputs for the products with packed weights. */
#ifndef SQ_PANEL_H
#define SQ_PANEL_H

#include "sq_kernels.h"

/* Where the next element of a column goes. */
typedef struct {
    int16_t *four;
    int32_t place; /* in the four */
    int32_t step;  /* from a four to the next of the same column */
    int32_t sum;
    int32_t bits; /* of the inputs in memory */
} sq_cursor;

void sq_begin_column(sq_cursor *cursor, const sq_panel *panel, int32_t column, int32_t bits);

/* `count` inputs from value `first` on. */
void sq_put(sq_cursor *cursor, const uint8_t *memory, int32_t first, int32_t count);
void sq_put_padding(sq_cursor *cursor, int32_t count, int32_t zero_point);

/* Fills the last four with zeros, and notes the column's sum. */
void sq_end_column(sq_cursor *cursor, sq_panel *panel, int32_t column);

#endif
