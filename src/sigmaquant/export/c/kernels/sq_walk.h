/* Steps through two orders of elements at once, line by line. */
#ifndef SQ_WALK_H
#define SQ_WALK_H

#include "sq_kernels.h"

/* A line: elements along the last axis. */
typedef struct {
    const sq_order *order;
    int32_t places[SQ_MOST_AXES];
    int32_t source, target; /* first element of the line */
} sq_walk;

static inline void sq_begin_walk(sq_walk *walk, const sq_order *order)
{
    walk->order = order;
    walk->source = walk->target = 0;
    for (int32_t axis = 0; axis < order->axes; axis++)
        walk->places[axis] = 0;
}

/* On to the next line; 0 when there is none. */
static inline int32_t sq_next_line(sq_walk *walk)
{
    const sq_order *order = walk->order;
    for (int32_t axis = order->axes - 2; axis >= 0; axis--) {
        walk->source += order->source[axis];
        walk->target += order->target[axis];
        if (++walk->places[axis] < order->sizes[axis])
            return 1;
        walk->source -= order->source[axis] * order->sizes[axis];
        walk->target -= order->target[axis] * order->sizes[axis];
        walk->places[axis] = 0;
    }
    return 0;
}

#endif
