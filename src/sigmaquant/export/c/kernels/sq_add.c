#include "sq_kernels.h"

/* value / 2^bits, half to even. */
static int32_t sq_shifted_half_even(int32_t value, int32_t bits)
{
    const int32_t one = 1 << bits;
    const int32_t quotient = value >> bits;
    const int32_t twice = 2 * (value & (one - 1));
    return quotient + (twice > one || (twice == one && (quotient & 1) != 0));
}

void sq_add(const sq_sum *sum, const uint8_t *left, const uint8_t *right, uint8_t *output)
{
    for (int32_t i = 0; i < sum->count; i++) {
        const int32_t total =
            left[i] * sum->left_ratio + right[i] * sum->right_ratio + sum->constant;
        const int32_t q = sq_shifted_half_even(total, sum->fraction_bits);
        output[i] = (uint8_t)(q < 0 ? 0 : q > sum->highest ? sum->highest : q);
    }
}
