#include "sq_panel.h"

#include "sq_lanes.h"
#include "sq_values.h"

void sq_begin_column(sq_cursor *cursor, const sq_panel *panel, int32_t column, int32_t bits)
{
    cursor->next = panel->values + column * SQ_BLOCK;
    cursor->room = SQ_BLOCK;
    cursor->skip = (panel->columns - 1) * SQ_BLOCK;
    cursor->sum = 0;
    cursor->bits = bits;
}

#if SQ_DSP
/* Four bytes as 16-bit numbers; returns `sum` plus theirs. */
SQ_INLINE int32_t sq_widen_four(const uint8_t *source, int16_t *target, int32_t sum)
{
    uint32_t bytes;
    memcpy(&bytes, source, sizeof bytes);
    const uint32_t even = (uint32_t)__uxtb16(bytes);
    const uint32_t odd = sq_odd_bytes(bytes);
    const uint32_t low = (even & 0xFFFFu) | odd << 16;
    const uint32_t high = even >> 16 | (odd & 0xFFFF0000u);
    memcpy(target, &low, sizeof low);
    memcpy(target + 2, &high, sizeof high);
    return (int32_t)__usada8(bytes, 0, (uint32_t)sum);
}
#endif

/* `count` bytes as 16-bit numbers; returns their sum. */
static int32_t sq_widen(const uint8_t *source, int32_t count, int16_t *target)
{
    int32_t sum = 0;
#if SQ_DSP
    for (; count >= 16; count -= 16) {
        sum = sq_widen_four(source, target, sum);
        sum = sq_widen_four(source + 4, target + 4, sum);
        sum = sq_widen_four(source + 8, target + 8, sum);
        sum = sq_widen_four(source + 12, target + 12, sum);
        source += 16;
        target += 16;
    }
    for (; count >= 4; count -= 4) {
        sum = sq_widen_four(source, target, sum);
        source += 4;
        target += 4;
    }
#endif
    for (int32_t i = 0; i < count; i++) {
        target[i] = source[i];
        sum += source[i];
    }
    return sum;
}

static void sq_advance(sq_cursor *cursor, int32_t count)
{
    cursor->next += count;
    cursor->room -= count;
    if (cursor->room == 0) {
        cursor->next += cursor->skip;
        cursor->room = SQ_BLOCK;
    }
}

void sq_put(sq_cursor *cursor, const uint8_t *memory, int32_t first, int32_t count)
{
    uint8_t values[SQ_BLOCK];
    while (count > 0) {
        const int32_t part = count < cursor->room ? count : cursor->room;
        const uint8_t *source = memory + first;
        if (cursor->bits != 8) {
            sq_load_values(memory, first, part, cursor->bits, values);
            source = values;
        }
        cursor->sum += sq_widen(source, part, cursor->next);
        sq_advance(cursor, part);
        first += part;
        count -= part;
    }
}

void sq_put_padding(sq_cursor *cursor, int32_t count, int32_t zero_point)
{
    cursor->sum += count * zero_point;
    while (count > 0) {
        const int32_t part = count < cursor->room ? count : cursor->room;
        for (int32_t i = 0; i < part; i++)
            cursor->next[i] = (int16_t)zero_point;
        sq_advance(cursor, part);
        count -= part;
    }
}
