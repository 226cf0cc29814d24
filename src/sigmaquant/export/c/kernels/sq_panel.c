#include "sq_panel.h"

#include "sq_lanes.h"
#include "sq_values.h"

void sq_begin_column(sq_cursor *cursor, const sq_panel *panel, int32_t column, int32_t bits)
{
    cursor->four = panel->values + 4 * column;
    cursor->place = 0;
    cursor->step = 4 * panel->columns;
    cursor->sum = 0;
    cursor->bits = bits;
}

static void sq_put_one(sq_cursor *cursor, int32_t value)
{
    const int32_t place = cursor->place;
    cursor->four[(place & 1) * 2 + (place >> 1)] = (int16_t)value;
    cursor->sum += value;
    cursor->place = (place + 1) & 3;
    if (cursor->place == 0)
        cursor->four += cursor->step;
}

/* Whole fours from the beginning of one; returns what of `count` is left. */
static int32_t sq_put_fours(sq_cursor *cursor, const uint8_t *source, int32_t count)
{
    int16_t *four = cursor->four;
    int32_t sum = cursor->sum;
    const int32_t step = cursor->step;
#if SQ_DSP
    for (; count >= 16; count -= 16) {
        uint32_t bytes[4];
        for (int32_t i = 0; i < 4; i++)
            bytes[i] = sq_load_bytes(source + 4 * i);
        source += 16;
        for (int32_t i = 0; i < 4; i++) {
            const uint32_t even = sq_even_bytes(bytes[i]), odd = sq_odd_bytes(bytes[i]);
            SQ_COPY_WORD(four, &even);
            SQ_COPY_WORD(four + 2, &odd);
            sum = (int32_t)__usada8(bytes[i], 0, (uint32_t)sum);
            four += step;
        }
    }
#endif
    for (; count >= 4; count -= 4) {
        four[0] = source[0];
        four[1] = source[2];
        four[2] = source[1];
        four[3] = source[3];
        sum += source[0] + source[1] + source[2] + source[3];
        source += 4;
        four += step;
    }
    cursor->four = four;
    cursor->sum = sum;
    return count;
}

static void sq_put_bytes(sq_cursor *cursor, const uint8_t *source, int32_t count)
{
    const uint8_t *end = source + count;
    while (cursor->place != 0 && source < end)
        sq_put_one(cursor, *source++);
    source = end - sq_put_fours(cursor, source, (int32_t)(end - source));
    while (source < end)
        sq_put_one(cursor, *source++);
}

void sq_put(sq_cursor *cursor, const uint8_t *memory, int32_t first, int32_t count)
{
    uint8_t values[SQ_BLOCK];
    if (!sq_share_bytes(cursor->bits)) {
        sq_put_bytes(cursor, memory + first, count);
        return;
    }
    while (count > 0) {
        const int32_t part = count < SQ_BLOCK ? count : SQ_BLOCK;
        sq_load_values(memory, first, part, cursor->bits, values);
        sq_put_bytes(cursor, values, part);
        first += part;
        count -= part;
    }
}

void sq_put_padding(sq_cursor *cursor, int32_t count, int32_t zero_point)
{
    for (; count > 0 && (cursor->place != 0 || count < 4); count--)
        sq_put_one(cursor, zero_point);
    for (; count >= 4; count -= 4) {
        for (int32_t place = 0; place < 4; place++)
            cursor->four[place] = (int16_t)zero_point;
        cursor->sum += 4 * zero_point;
        cursor->four += cursor->step;
    }
    for (; count > 0; count--)
        sq_put_one(cursor, zero_point);
}

void sq_end_column(sq_cursor *cursor, sq_panel *panel, int32_t column)
{
    panel->sums[column] = cursor->sum;
    while (cursor->place != 0)
        sq_put_one(cursor, 0);
}
