#include "sq_pool_means.h"

void sq_average_pool_packed(const sq_average *pool, const uint8_t *input, uint8_t *output)
{
    sq_pool_means(pool, pool->bits, input, output);
}
