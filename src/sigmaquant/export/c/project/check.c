/* Runs the network on stored inputs and compares with what the integer reference computed. */
#include <stdio.h>
#include <string.h>

#include "check_vectors.h"

int main(void)
{
    static float inputs[CHECK_INPUT_FLOATS], outputs[CHECK_OUTPUT_FLOATS];
    int differing = 0;
    for (int sample = 0; sample < CHECK_SAMPLES; sample++) {
        memcpy(inputs, check_inputs[sample], sizeof inputs);
        CHECK_RUN(inputs, outputs);
        for (int i = 0; i < CHECK_OUTPUT_FLOATS; i++)
            differing += memcmp(&outputs[i], &check_outputs[sample][i], sizeof outputs[i]) != 0;
    }
    printf("%d of %d values differ\n", differing, CHECK_SAMPLES * CHECK_OUTPUT_FLOATS);
    return differing != 0;
}
