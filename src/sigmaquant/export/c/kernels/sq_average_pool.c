#include "sq_pool_means.h"

void sq_average_pool(const sq_average *pool, const uint8_t *input, uint8_t *output)
{
    sq_pool_means(pool, 8, input, output);
}
