/* Runs samples from standard input, each all inputs as float32, and writes their outputs.
 * With STREAM_STEPS the result of every step comes before the outputs. */
#include <stdint.h>
#include <stdio.h>

#ifdef STREAM_STEPS
static void write_step(const void *result, uint32_t bytes)
{
    fwrite(result, 1, bytes, stdout);
}
#define MODEL_STEP_DONE(step, result, bytes) write_step(result, bytes)
#endif

#include "model.c"

#include "check_vectors.h"

int main(void)
{
    static float inputs[CHECK_INPUT_FLOATS], outputs[CHECK_OUTPUT_FLOATS];
    while (fread(inputs, sizeof inputs, 1, stdin) == 1) {
        CHECK_RUN(inputs, outputs);
        fwrite(outputs, sizeof outputs, 1, stdout);
    }
    return 0;
}
