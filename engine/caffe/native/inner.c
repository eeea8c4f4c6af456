/* The product of a row of float32 values with each row of a matrix, as InnerProduct has it for one
 * image. Each value of the matrix is read once, as fast as memory gives it.
 */
#include <stdint.h>

#include "vectors.h"

/* Rows of the matrix that are read at the same time, and values of each that are fetched ahead. */
#define TOGETHER 8
#define NEAR 128
/* Values that are fetched ahead of a single row, and its sums that are added up at the same time. */
#define FAR 1024
#define SUMS 4
/* Inputs whose products with one of several rows are added up by themselves, so that sums round less; a
 * multiple of PANEL. */
#define DEPTH 512
#define WIDTH (PANEL / 2)

/* What a job computes of y = w x + b: the outputs from first_output on. w is outputs x inputs in
 * memory; b may be missing. together: whether to read several rows of w at the same time. From pages of
 * 4 KB, memory gives 25 instead of 15 GB a second so; from large pages, it gives one row faster. */
struct inner {
    int64_t taken;
    const float *x, *w, *b, *other;
    float *y;
    int64_t inputs, first_output, end_output, together;
};

INLINE float sum_of(half_vector values)
{
    float result = 0;
    for (int i = 0; i < WIDTH; i++) result += values[i];
    return result;
}

/* Return the sum of the last products, and the bias. */
INLINE float rest_of(const struct inner *j, int64_t output, int64_t first)
{
    float result = 0;
    for (int64_t i = first; i < j->inputs; i++) result += j->x[i] * j->w[output * j->inputs + i];
    return result + (j->b ? j->b[output] : 0);
}

INLINE void write_output(const struct inner *j, int64_t output)
{
    const float *x = j->x, *w = j->w + output * j->inputs;
    half_vector sum[SUMS] = {{0}};
    int64_t i = 0;
    for (; i + SUMS * WIDTH <= j->inputs; i += SUMS * WIDTH) {
        __builtin_prefetch(w + i + FAR);
        __builtin_prefetch(w + i + FAR + 2 * WIDTH);
        UNROLL for (int s = 0; s < SUMS; s++)
            sum[s] += *(const half_vector *)(x + i + s * WIDTH) *
                      *(const half_vector *)(w + i + s * WIDTH);
    }
    j->y[output] = sum_of((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest_of(j, output, i);
}

/* Add the products of PANEL values of x with those of `count` rows of w, which are n apart. */
INLINE void add_panel(int count, const float *x, const float *w, int64_t n, half_vector *sum)
{
    half_vector first = ((const half_vector *)x)[0], second = ((const half_vector *)x)[1];
    UNROLL for (int k = 0; k < count; k++) {
        const float *row = w + k * n;
        __builtin_prefetch(row + NEAR);
        sum[k] += first * ((const half_vector *)row)[0];
        sum[k] += second * ((const half_vector *)row)[1];
    }
}

/* Write `count` outputs, which are the same whatever their number. */
INLINE void write_outputs(const struct inner *j, int count, int64_t output)
{
    const int64_t whole = j->inputs / PANEL * PANEL;
    const float *w = j->w + output * j->inputs;
    half_vector sum[TOGETHER] = {{0}};
    for (int64_t start = 0; start < whole; start += DEPTH) {
        const int64_t end = whole - start < DEPTH ? whole : start + DEPTH;
        half_vector part[TOGETHER] = {{0}};
        for (int64_t i = start; i < end; i += PANEL) add_panel(count, j->x + i, w + i, j->inputs, part);
        UNROLL for (int k = 0; k < count; k++) sum[k] += part[k];
    }
    for (int k = 0; k < count; k++)
        j->y[output + k] = sum_of(sum[k]) + rest_of(j, output + k, whole);
}

INLINE void run_job(struct inner *j, int rows, float *scratch)
{
    (void)rows, (void)scratch;
    int64_t k = j->first_output;
    if (!j->together)
        for (; k < j->end_output; k++) write_output(j, k);
    for (; k + TOGETHER <= j->end_output; k += TOGETHER) write_outputs(j, TOGETHER, k);
    for (; k < j->end_output; k++) write_outputs(j, 1, k);
}

DEFINE_JOBS_OF(inner)
DEFINE_CALL(inner, inner)
