/* Products of a matrix of packed weights with a panel of gathered inputs. */
#ifndef SQ_MULTIPLY_H
#define SQ_MULTIPLY_H

#include "sq_kernels.h"

/* Accumulators as from sq_dot, of an odd number of rows too if they are the matrix's last. */
void sq_multiply(const sq_matrix *matrix, int32_t first, int32_t count, const sq_panel *panel,
                 int32_t *accumulators);

#endif
