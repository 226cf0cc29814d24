#include "sq_pool_maxima.h"

void sq_max_pool(const sq_window *window, const uint8_t *input, uint8_t *output)
{
    sq_pool_maxima(window, 8, input, output);
}
