/* Accumulators to integers of the output's encoding, as float32 arithmetic would round them. */
#ifndef SQ_REQUANTIZE_H
#define SQ_REQUANTIZE_H

#include "sq_kernels.h"
#include "sq_lanes.h"

/* Up to SQ_ROWS accumulators to integers of an encoding, stored from value `first` on:
 * limited(round_half_even(float32(float32(accumulator) * multiplier)) + zero point). */
void sq_requantize(const int32_t *accumulators, int32_t count, const uint32_t *multipliers,
                   const sq_range *range, uint8_t *output, int32_t first);

#endif
