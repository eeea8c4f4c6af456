/* Depthwise convolutions of float32 maps with channels last: each channel has a kernel of its own.
 * Some positions of a row are computed at a time, PANEL channels at a time, with all that follows
 * the convolution. Jobs are divided as in winograd.c. x is N x H x W x C in memory, w
 * kernel x kernel x C; the scratch memory of a job has C values.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "windows.h"

/* Positions of a row that are computed at a time, so that they share what they see; the most inputs
 * that they see in a row; and channels whose kernels and inputs stay in the fastest cache. */
#define COLUMNS 4
#define LARGEST 5
#define SEEN(taps, across) ((COLUMNS - 1) * (across) + (taps))
#define BLOCK 256

INLINE half_vector rectified_half(half_vector value, float slope)
{
    half_mask positive = value > 0;
    return (half_vector)((half_mask)value & positive) +
           slope * (half_vector)((half_mask)value & ~positive);
}

INLINE half_vector positive_half(half_vector value)
{
    return (half_vector)((half_mask)value & ~(value < 0));
}

INLINE float positive_float(float value) { return value < 0 ? 0 : value; }

INLINE float rectified_float(float value, float slope) { return value > 0 ? value : slope * value; }

/* Write the channels from c on, as far as whole values of a type reach. */
#define WRITE_CHANNELS(type, positive, rectify) \
    for (const int64_t size = sizeof(type) / 4; c + size <= end; c += size) { \
        type sum[COLUMNS], bias = j->b ? *(const type *)(j->b + c) : (type){0}; \
        UNROLL for (int i = 0; i < columns; i++) sum[i] = bias; \
        for (int64_t p = first; p < last; p++) { \
            const float *w = j->w + p * taps * j->channels + c; \
            UNROLL for (int q = 0; q < taps; q++) { \
                type factor = *(const type *)(w + q * j->channels); \
                UNROLL for (int i = 0; i < columns; i++) \
                    sum[i] += *(const type *)(x[p][i * across + q] + c) * factor; \
            } \
        } \
        if (j->other) \
            UNROLL for (int i = 0; i < columns; i++) \
                sum[i] += *(const type *)(j->other + at + i * j->channels + c); \
        if (j->slope == 0) \
            UNROLL for (int i = 0; i < columns; i++) sum[i] = positive(sum[i]); \
        else if (j->slope != 1) \
            UNROLL for (int i = 0; i < columns; i++) sum[i] = rectify(sum[i], j->slope); \
        UNROLL for (int i = 0; i < columns; i++) *(type *)(y + i * j->channels + c) = sum[i]; \
    }

/* Write channels of `columns` positions of y, of which the first is at `at`. x: the inputs that they
 * see, of which the rows from `first` to `last` are within the map. */
INLINE void write_columns(const struct windows *j, int taps, int across, int columns, int halves,
                          const float *x[LARGEST][SEEN(LARGEST, 2)], int64_t first, int64_t last,
                          int64_t at, int64_t c, int64_t end)
{
    float *y = j->y + at;
    if (!halves) WRITE_CHANNELS(vector, positive_part, rectified)
    WRITE_CHANNELS(half_vector, positive_half, rectified_half)
    WRITE_CHANNELS(float, positive_float, rectified_float)
}

/* Write channels of a row of y. Where the last positions are fewer than are computed at a time, some
 * before them are computed again. */
INLINE void write_row(const struct windows *j, int taps, int across, int columns, int halves,
                      int64_t row, const float *zeros, int64_t c, int64_t end)
{
    const float *x[LARGEST][SEEN(LARGEST, 2)];
    int64_t image = row / j->y_height, down = row % j->y_height * j->down - j->top;
    int64_t first = down < 0 ? -down : 0, rest = j->height - down, last = rest < taps ? rest : taps;
    for (int64_t start = 0; start < j->y_width; start += columns) {
        if (start > j->y_width - columns) start = j->y_width - columns;
        for (int64_t p = first; p < last; p++) {
            const float *line = j->x + (image * j->height + down + p) * j->width * j->channels;
            for (int i = 0; i < (columns - 1) * across + taps; i++) {
                int64_t column = start * across - j->left + i;
                int is_inside = column >= 0 && column < j->width;
                x[p][i] = is_inside ? line + column * j->channels : zeros;
            }
        }
        write_columns(j, taps, across, columns, halves, x, first, last,
                      (row * j->y_width + start) * j->channels, c, end);
    }
}

INLINE void run_job(struct windows *j, int rows, float *scratch)
{
    int halves = rows < ROWS, is_narrow = j->y_width < COLUMNS;
    memset(scratch, 0, 4 * j->channels);
    for (int64_t c = j->first_output, end; c < j->end_output; c = end) {
        end = c + BLOCK < j->end_output ? c + BLOCK : j->end_output;
        for (int64_t row = j->first_row; row < j->end_row; row++) {
#define WRITE_ROW(taps, across) \
    if (is_narrow) write_row(j, taps, across, 1, halves, row, scratch, c, end); \
    else write_row(j, taps, across, COLUMNS, halves, row, scratch, c, end)
            if (j->kernel == 3 && j->across == 1) { WRITE_ROW(3, 1); }
            else if (j->kernel == 3) { WRITE_ROW(3, 2); }
            else if (j->across == 1) { WRITE_ROW(5, 1); }
            else { WRITE_ROW(5, 2); }
#undef WRITE_ROW
        }
    }
}

DEFINE_JOBS_OF(windows)
DEFINE_CALL(depthwise, windows)
