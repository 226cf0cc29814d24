#include <string.h>

#include "sq_kernels.h"

void sq_fill(int32_t value, int32_t count, uint8_t *output)
{
    memset(output, (uint8_t)value, (uint32_t)count);
}
