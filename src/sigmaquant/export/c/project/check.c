/* Runs the network on stored inputs and compares with what the integer reference computed. */
#include <stdio.h>
#include <string.h>

#include "check_vectors.h"

/* Whether any bit differs or, where there is a tolerance, the values by more than that. */
static int differs(float actual, uint32_t bits)
{
    float wanted;
    memcpy(&wanted, &bits, sizeof wanted);
    const float difference = actual - wanted;
    if (memcmp(&actual, &wanted, sizeof wanted) == 0)
        return 0;
    return !(CHECK_TOLERANCE > 0.0f && difference <= CHECK_TOLERANCE &&
             difference >= -CHECK_TOLERANCE);
}

int main(void)
{
    static float inputs[CHECK_INPUT_FLOATS], outputs[CHECK_OUTPUT_FLOATS];
    int differing = 0;
    for (int sample = 0; sample < CHECK_SAMPLES; sample++) {
        memcpy(inputs, check_inputs[sample], sizeof inputs);
        CHECK_RUN(inputs, outputs);
        for (int i = 0; i < CHECK_OUTPUT_FLOATS; i++)
            differing += differs(outputs[i], check_outputs[sample][i]);
    }
    printf("%d of %d values differ\n", differing, CHECK_SAMPLES * CHECK_OUTPUT_FLOATS);
    return differing != 0;
}
