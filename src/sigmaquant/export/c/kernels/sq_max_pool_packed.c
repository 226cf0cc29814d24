#include "sq_pool_maxima.h"

void sq_max_pool_packed(const sq_window *window, int32_t bits, const uint8_t *input,
                        uint8_t *output)
{
    sq_pool_maxima(window, bits, input, output);
}
