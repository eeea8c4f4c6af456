/* Rounding of float32 values to bfloat16. */
#include <stdint.h>

#include "vectors.h"

/* Write n values of x to y, rounded to the nearest, ties to even. NaN stays NaN. */
INLINE void round_values(const float *x, uint16_t *y, int64_t n)
{
    int64_t filled = n - n % PANEL;
    for (int64_t i = 0; i < filled; i += PANEL) store(y, i, load(x, i, 0), 1);
    if (filled == n) return;
    float rest[PANEL] = {0};
    uint16_t rounded[PANEL];
    for (int64_t i = filled; i < n; i++) rest[i - filled] = x[i];
    store(rounded, 0, load(rest, 0, 0), 1);
    for (int64_t i = filled; i < n; i++) y[i] = rounded[i - filled];
}

AVX2 static void round_avx2(const float *x, uint16_t *y, int64_t n) { round_values(x, y, n); }
AVX512 static void round_avx512(const float *x, uint16_t *y, int64_t n) { round_values(x, y, n); }

void caffe_native_round(const float *x, uint16_t *y, int64_t n)
{
    switch (processor_vectors()) {
    case 2: round_avx512(x, y, n); break;
    case 1: round_avx2(x, y, n); break;
    default: round_values(x, y, n);
    }
}
