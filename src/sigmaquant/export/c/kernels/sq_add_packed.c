#include "sq_values.h"

void sq_add_packed(const sq_packed_sum *packed, const uint8_t *left, const uint8_t *right,
                   uint8_t *output)
{
    uint8_t values[SQ_BLOCK], others[SQ_BLOCK];
    sq_sum part = packed->sum;
    for (int32_t first = 0; first < packed->sum.count; first += SQ_BLOCK) {
        const int32_t rest = packed->sum.count - first;
        part.count = rest < SQ_BLOCK ? rest : SQ_BLOCK;
        sq_load_values(left, first, part.count, packed->left_bits, values);
        sq_load_values(right, first, part.count, packed->right_bits, others);
        sq_add(&part, values, others, values);
        sq_store_values(values, part.count, output, first, packed->output_bits);
    }
}
