/* What the kernels need of it, so that no C library has to be installed. */
#ifndef STRING_H
#define STRING_H

#include <stddef.h>

void *memcpy(void *restrict target, const void *restrict source, size_t count);
void *memset(void *target, int value, size_t count);

/* The compiler's own, so that copying a word stays one instruction in freestanding code. */
#define memcpy(target, source, count) __builtin_memcpy(target, source, count)
#define memset(target, value, count) __builtin_memset(target, value, count)

#endif
