#include "sq_values.h"

void sq_look_up_packed(const uint8_t *table, int32_t count, int32_t input_bits,
                       const uint8_t *input, int32_t output_bits, uint8_t *output)
{
    for (int32_t i = 0; i < count; i++)
        sq_set_value(output, i, output_bits, table[sq_value(input, i, input_bits)]);
}
