/* 1 x 1 convolutions of float32 maps with channels last: a product of the map's positions with the
 * weights, whose results are written once, with all that follows the convolution. Jobs are divided as
 * in winograd.c.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"

/* Channels whose products are added up by themselves, so that sums round less. */
#define DEPTH 256
/* Positions up to which the kernels, which are read once, do not arrive from memory as fast as they
 * are multiplied; the next panel is then fetched during the products with one panel. Channels between
 * two fetches. */
#define FEW 128
#define STRETCH 32

/* What a job computes of y = slope(x * w + b + other); see winograd.c. The weights are in panels:
 * K / PANEL x C x PANEL, with zeros after the last of K; b ends likewise. Positions of y are counted
 * along the rows of all images, and `block` of them are computed with one panel after the other. With a
 * stride, the scratch memory has block * channels values. */
struct pointwise {
    int64_t taken;
    const float *x, *w, *b, *other;
    float *y;
    int64_t height, width, channels, outputs, y_height, y_width, x_step, down, across;
    int64_t first_position, end_position, first_output, end_output, block;
    float slope;
    int32_t strided;
};

/* Copy the positions that a stride leaves, one behind the other. */
INLINE void gather(const struct pointwise *j, int64_t first, int64_t count, float *o)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t column = (first + i) % j->y_width, row = (first + i) / j->y_width;
        int64_t image = row / j->y_height;
        int64_t at = (image * j->height + row % j->y_height * j->down) * j->width +
                     column * j->across;
        memcpy(o + i * j->channels, j->x + at * j->channels, 4 * j->channels);
    }
}

/* ahead, lines: kernels that are needed later, and how many lines of them to fetch. */
INLINE void write_rows(const struct pointwise *j, int rows, int halves, const float *x,
                       int64_t position, int64_t first, const float *ahead, int64_t lines)
{
    const float *w = j->w + first * j->channels;
    const int64_t rest = j->outputs - first, count = rest < PANEL ? rest : PANEL;
    const int64_t start = position * j->outputs + first;
    vector sum[ROWS], part[ROWS], bias = {0};
    if (j->b) bias = *(const vector *)(j->b + first);
    /* The products take long enough for these lines to arrive, wherever they are. */
    for (int i = 0; i < rows; i++) {
        int64_t at = start + i * j->outputs;
        __builtin_prefetch(j->y + at, 1);
        if (j->other) __builtin_prefetch(j->other + at);
    }
    UNROLL for (int i = 0; i < rows; i++) sum[i] = bias;
    for (int64_t c = 0; c < j->channels; c += DEPTH) {
        int64_t n = j->channels - c < DEPTH ? j->channels - c : DEPTH;
        UNROLL for (int i = 0; i < rows; i++) part[i] = (vector){0};
        if (lines == 0 || halves)
            add_products(rows, halves, n, x + c, j->channels, 1, w + c * PANEL, PANEL, part);
        else
            for (int64_t i = c; i < c + n; i += STRETCH) {
                int64_t m = c + n - i < STRETCH ? c + n - i : STRETCH;
                for (int64_t k = i * lines / j->channels; k < (i + m) * lines / j->channels; k++)
                    __builtin_prefetch(ahead + k * PANEL, 0, 2);
                add_products(rows, halves, m, x + i, j->channels, 1, w + i * PANEL, PANEL, part);
            }
        UNROLL for (int i = 0; i < rows; i++) sum[i] += part[i];
    }
    finish_rows(rows, sum, count, j->outputs, j->other ? j->other + start : 0, j->slope,
                j->y + start);
}

INLINE void run_job(struct pointwise *j, int rows, float *scratch)
{
    int is_few = j->end_position - j->first_position <= (j->block < FEW ? j->block : FEW);
    for (int64_t start = j->first_position, stop; start < j->end_position; start = stop) {
        stop = next_rows(start, j->end_position, j->block);
        const float *x = j->x + start * j->x_step;
        if (j->strided) {
            gather(j, start, stop - start, scratch);
            x = scratch;
        }
        for (int64_t k = j->first_output; k < j->end_output; k += PANEL)
            for (int64_t i = 0, end; i < stop - start; i = end) {
                end = next_rows(i, stop - start, rows);
                int64_t line = is_few ? i * j->channels / (stop - start) : 0, lines = 0;
                if (is_few) lines = end * j->channels / (stop - start) - line;
                const float *next = j->w + ((k + PANEL) * j->channels + line * PANEL);
#define CASE(N) write_rows(j, N, rows < ROWS, x + i * j->channels, start + i, k, next, lines)
                EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
            }
    }
}

DEFINE_JOBS_OF(pointwise)
DEFINE_CALL(pointwise, pointwise)
