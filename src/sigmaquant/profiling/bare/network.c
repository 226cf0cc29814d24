/* Runs the network whenever the emulator goes on, with a pause after each of its steps. */
#include <stdint.h>

void sq_pause(int32_t reason);
#define MODEL_STEP_DONE(step, result, bytes) sq_pause(step)

#include "model.c"

#include "check_vectors.h"

#define READY (-1)

float network_inputs[CHECK_INPUT_FLOATS], network_outputs[CHECK_OUTPUT_FLOATS];

int main(void)
{
    for (;;) {
        sq_pause(READY);
        CHECK_RUN(network_inputs, network_outputs);
    }
}
