#include <string.h>

#include "sq_kernels.h"

/* For x <= 0, to about 2^-23 of the result; 0 where that is less than 2^-126.
 *
 * x = n ln 2 + r with a whole n; ln 2 comes in two parts, so that r is exact (Cody & Waite,
 * "Software Manual for the Elementary Functions", 1980, chapter 6), and exp(r) is Taylor's series:
 * |r| is at most ln 2 / 2. */
static float sq_exponential(float x)
{
    static const float factors[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    if (!(x > -87.0f))
        return 0.0f;
    const int32_t whole = (int32_t)(x * 1.44269504f - 0.5f);
    const float rest = x - (float)whole * 0.693359375f + (float)whole * 2.12194440e-4f;
    const uint32_t bits = (uint32_t)(whole + 127) << 23;
    float result = 1.0f / 5040, power;
    for (int32_t i = 0; i < (int32_t)(sizeof factors / sizeof factors[0]); i++)
        result = result * rest + factors[i];
    memcpy(&power, &bits, sizeof power);
    return result * power;
}

void sq_softmax(int32_t rows, int32_t length, const float *input, float *output)
{
    for (; rows > 0; rows--) {
        float largest = input[0], sum = 0.0f;
        for (int32_t i = 1; i < length; i++)
            largest = input[i] > largest ? input[i] : largest;
        for (int32_t i = 0; i < length; i++) {
            output[i] = sq_exponential(input[i] - largest);
            sum += output[i];
        }
        for (int32_t i = 0; i < length; i++)
            output[i] /= sum;
        input += length;
        output += length;
    }
}
