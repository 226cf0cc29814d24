#include "sq_kernels.h"

void sq_clamp(int32_t low, int32_t high, int32_t count, const uint8_t *input, uint8_t *output)
{
    for (int32_t i = 0; i < count; i++) {
        const int32_t q = input[i];
        output[i] = (uint8_t)(q < low ? low : q > high ? high : q);
    }
}
