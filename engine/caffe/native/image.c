/* Convolutions of few planes, such as those of images. The values that a row of results sees are copied
 * with zeros around them; the products read them there. Planes are read as they are; the result has its
 * channels last. Jobs are divided as in winograd.c.
 *
 * x is N x C x H x W in memory. The weights are in panels: K / PANEL x C x kernel x kernel x PANEL, with
 * zeros after the last of K; b ends likewise. The scratch memory has C * kernel * columns_of values.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "windows.h"

/* The columns that a row sees. */
INLINE int64_t columns_of(const struct windows *j) { return (j->y_width - 1) * j->across + j->kernel; }

/* Copy what a row of y sees, with zeros around the image: C x kernel x columns. */
INLINE void copy_rows(const struct windows *j, int64_t row, float *out)
{
    const int64_t columns = columns_of(j), image = row / j->y_height;
    const int64_t start = row % j->y_height * j->down - j->top, rest = columns - j->left;
    const int64_t count = rest < j->width ? rest : j->width;
    for (int64_t c = 0; c < j->channels; c++)
        for (int64_t p = 0; p < j->kernel; p++, out += columns) {
            int64_t at = start + p;
            memset(out, 0, 4 * columns);
            if (at < 0 || at >= j->height || count <= 0) continue;
            const float *x = j->x + ((image * j->channels + c) * j->height + at) * j->width;
            memcpy(out + j->left, x, 4 * count);
            /* The next row of results sees these lines for the first time. */
            if (p >= j->kernel - j->down && at + j->down < j->height)
                for (int64_t i = 0; i < count; i += PANEL)
                    __builtin_prefetch(x + j->down * j->width + i);
        }
}

/* Write PANEL outputs, or those that there are, of `columns` positions of a row. */
INLINE void write_columns(const struct windows *j, int columns, int halves, int kernel, const float *x,
                          int64_t at, int64_t first)
{
    const int64_t taps = (int64_t)kernel * kernel, row = columns_of(j);
    const int64_t rest = j->outputs - first, count = rest < PANEL ? rest : PANEL;
    const float *w = j->w + first * j->channels * taps;
    vector sum[ROWS], bias = {0};
    if (j->b) bias = *(const vector *)(j->b + first);
    UNROLL for (int i = 0; i < columns; i++) sum[i] = bias;
    for (int64_t line = 0; line < j->channels * kernel; line++)
        add_products(columns, halves, kernel, x + line * row, j->across, 1, w + line * kernel * PANEL,
                     PANEL, sum);
    finish_rows(columns, sum, count, j->outputs, j->other ? j->other + at + first : 0, j->slope,
                j->y + at + first);
}

INLINE void run_rows(const struct windows *j, int rows, int kernel, float *scratch)
{
    for (int64_t row = j->first_row; row < j->end_row; row++) {
        copy_rows(j, row, scratch);
        for (int64_t k = j->first_output; k < j->end_output; k += PANEL)
            for (int64_t i = 0, end; i < j->y_width; i = end) {
                end = next_rows(i, j->y_width, rows);
#define CASE(N) \
    write_columns(j, N, rows < ROWS, kernel, scratch + i * j->across, \
                  (row * j->y_width + i) * j->outputs, k)
                EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
            }
    }
}

INLINE void run_job(struct windows *j, int rows, float *scratch)
{
    if (j->kernel == 3) run_rows(j, rows, 3, scratch);
    else run_rows(j, rows, j->kernel, scratch);
}

DEFINE_JOBS_OF(windows)
DEFINE_CALL(image, windows)
