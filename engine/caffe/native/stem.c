/* 7 x 7 convolutions with stride 2 of few planes, the first layer of many nets, by Winograd's
 * F(3 x 3, 4 x 4).
 *
 * Every second row and column of an image is a map of its own, of which there are four. On them, the
 * convolution is the sum of four convolutions with stride 1 and kernels of 4 x 4, a row and a column of
 * which are zeros in some. A tile of 3 x 3 outputs sees 6 x 6 values of each map: 36 coordinates take
 * 4 multiplications for an output and a map, where the direct convolution takes 12.25. winograd.py has
 * the points. The kernels come in coordinates. Planes are read as they are; the result has its channels
 * last.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "basis.h"

/* Outputs of a tile along an axis, and inputs between two tiles and of one tile. */
#define SIDE 3
#define TILE_STEP 6
#define TILE_INPUTS 12
/* Tiles whose products a core has in its registers at a time, and tiles between whose coordinates it
 * stays with PANEL kernels. */
#define TILES 4
#define CHUNK (2 * TILES)

/* What a job computes of y = slope(x * w + b + other); see winograd.c. x is N x C x H x W in memory,
 * y, and other, N x H x W x K. Rows of tiles are counted through all images. The kernels are in panels:
 * K / PANEL x coordinates across x columns' parity x C x rows' parity x coordinates down x PANEL. */
struct stem {
    int64_t taken;
    const float *x, *w, *b, *other;
    float *y;
    int64_t height, width, channels, outputs, y_height, y_width, x_step, top, left;
    int64_t first_row, end_row, first_output, end_output;
    float slope;
    int32_t finite; /* set to whether the results have neither NaN nor infinity */
};

/* Maps of a parity of the columns, values that a column of them has in coordinates, in all vectors, and
 * values of a tile's coordinates. */
#define MAPS(channels) (2 * (channels))
#define LANES(channels) ((AXIS_POINTS * MAPS(channels) + PANEL - 1) / PANEL * PANEL)
#define TILE_VALUES(channels) (AXIS_POINTS * 2 * LANES(channels))

INLINE int64_t tiles_across(int64_t y_width) { return (y_width + SIDE - 1) / SIDE; }

/* Columns that a row of tiles sees, in vectors. */
INLINE int64_t columns_of(int64_t y_width)
{
    int64_t columns = TILE_STEP * tiles_across(y_width) + TILE_STEP;
    return (columns + PANEL - 1) / PANEL * PANEL;
}

/* The values of a job's scratch memory: rows of the image, the same with rows in coordinates, the
 * coordinates of tiles, and sums. */
int64_t caffe_native_stem_scratch(int64_t channels, int64_t y_width)
{
    return columns_of(y_width) * (TILE_INPUTS * channels + LANES(channels)) +
           CHUNK * (TILE_VALUES(channels) + SIDE * AXIS_POINTS * PANEL);
}

/* Copy the rows that a row of tiles sees, with zeros around the image: C x parity x 6 x columns. */
INLINE void copy_rows(const struct stem *j, int channels, int64_t row, float *out)
{
    int64_t down = (j->y_height + SIDE - 1) / SIDE, columns = columns_of(j->y_width);
    int64_t image = row / down, start = row % down * TILE_STEP - j->top;
    int64_t count = columns - j->left < j->width ? columns - j->left : j->width;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < TILE_INPUTS; i++) {
            int64_t at = start + i;
            float *o = out + ((c * 2 + i % 2) * AXIS_POINTS + i / 2) * columns;
            if (at < 0 || at >= j->height) {
                memset(o, 0, 4 * columns);
                continue;
            }
            memset(o, 0, 4 * j->left);
            memcpy(o + j->left, j->x + ((image * channels + c) * j->height + at) * j->width, 4 * count);
            memset(o + j->left + count, 0, 4 * (columns - j->left - count));
        }
}

/* Change the basis of the rows, and turn them: columns x coordinates x maps. */
INLINE void write_columns(int channels, int has_wide_shuffles, int64_t columns, const float *rows,
                          float *out)
{
    vector values[LANES(channels)];
    UNROLL for (int i = 0; i < LANES(channels); i++) values[i] = (vector){0};
    for (int64_t column = 0; column < columns; column += PANEL)  {
        for (int map = 0; map < MAPS(channels); map++) {
            vector d[AXIS_POINTS];
            UNROLL for (int p = 0; p < AXIS_POINTS; p++)
                d[p] = *(const vector *)(rows + (map * AXIS_POINTS + p) * columns + column);
            tile_basis(values + map, MAPS(channels), d);
        }
        for (int lane = 0; lane < LANES(channels); lane += PANEL) {
            vector square[PANEL];
            UNROLL for (int i = 0; i < PANEL; i++) square[i] = values[lane + i];
            float *o = out + column * LANES(channels) + lane;
            if (has_wide_shuffles) {
                TURN_SQUARE(square)
                UNROLL for (int i = 0; i < PANEL; i++)
                    *(vector *)(o + i * LANES(channels)) = square[i];
                continue;
            }
            for (int i = 0; i < PANEL; i++)
                for (int k = 0; k < PANEL; k++) o[i * LANES(channels) + k] = square[k][i];
        }
    }
}

/* Write the coordinates of a tile: coordinates across x parity of columns x LANES. */
INLINE void write_coordinates(int channels, const float *columns, float *out)
{
    for (int odd = 0; odd < 2; odd++)
        UNROLL for (int lane = 0; lane < LANES(channels); lane += PANEL) {
            vector d[AXIS_POINTS], o[AXIS_POINTS];
            UNROLL for (int q = 0; q < AXIS_POINTS; q++)
                d[q] = *(const vector *)(columns + (2 * q + odd) * LANES(channels) + lane);
            tile_basis(o, 1, d);
            UNROLL for (int q = 0; q < AXIS_POINTS; q++)
                *(vector *)(out + (2 * q + odd) * LANES(channels) + lane) = o[q];
        }
}

/* Add up the products of `tiles` tiles and PANEL kernels over all maps, for one coordinate across and
 * all of those down. */
#define ADD_PRODUCTS(type, sum, w_offset) \
    for (int odd = 0; odd < 2; odd++) \
        for (int map = 0; map < MAPS(channels); map++) { \
            const float *a = tile + odd * LANES(channels) + map; \
            const float *b = w + (odd * MAPS(channels) + map) * AXIS_POINTS * PANEL + w_offset; \
            UNROLL for (int p = 0; p < AXIS_POINTS; p++) { \
                type kernels = *(const type *)(b + p * PANEL); \
                UNROLL for (int i = 0; i < tiles; i++) \
                    sum[i][p] += a[i * TILE_VALUES(channels) + p * MAPS(channels)] * kernels; \
            } \
        }

/* Write the sums with their rows as outputs: tiles x 3 x coordinates across x PANEL. */
INLINE void write_sums(int channels, int tiles, int halves, const float *tile, const float *w,
                       float *out)
{
    vector sum[TILES][AXIS_POINTS];
    if (halves) {
        for (int half = 0; half < 2; half++) {
            half_vector part[TILES][AXIS_POINTS];
            UNROLL for (int i = 0; i < tiles; i++)
                UNROLL for (int p = 0; p < AXIS_POINTS; p++) part[i][p] = (half_vector){0};
            ADD_PRODUCTS(half_vector, part, half * PANEL / 2)
            UNROLL for (int i = 0; i < tiles; i++)
                UNROLL for (int p = 0; p < AXIS_POINTS; p++)
                    ((half_vector *)&sum[i][p])[half] = part[i][p];
        }
    } else {
        UNROLL for (int i = 0; i < tiles; i++)
            UNROLL for (int p = 0; p < AXIS_POINTS; p++) sum[i][p] = (vector){0};
        ADD_PRODUCTS(vector, sum, 0)
    }
    UNROLL for (int i = 0; i < tiles; i++) {
        vector o[SIDE];
        output_basis(SIDE, o, 1, sum[i]);
        UNROLL for (int p = 0; p < SIDE; p++)
            *(vector *)(out + (i * SIDE + p) * AXIS_POINTS * PANEL) = o[p];
    }
}

/* Write PANEL outputs of a tile from its sums; return zeros, or NaN where a result is not finite. */
INLINE vector write_outputs(const struct stem *j, const float *sums, int64_t rows, int64_t columns,
                            int64_t first, int64_t at)
{
    vector bias = {0}, zeros = {0};
    if (j->b) bias = *(const vector *)(j->b + first);
    UNROLL for (int p = 0; p < SIDE; p++) {
        vector o[SIDE];
        output_basis(SIDE, o, 1, (const vector *)(sums + p * AXIS_POINTS * PANEL));
        UNROLL for (int q = 0; q < SIDE; q++) {
            if (p >= rows || q >= columns) continue;
            int64_t i = at + (p * j->y_width + q) * j->outputs;
            vector value = o[q] + bias;
            zeros += value * 0;
            if (j->other) value += *(const vector *)(j->other + i);
            if (j->slope != 1) value = rectified(value, j->slope);
            *(vector *)(j->y + i) = value;
        }
    }
    return zeros;
}

/* Have the lines of PANEL outputs of tiles on their way into the cache while the products take place. */
INLINE void prefetch_outputs(const struct stem *j, int64_t count, int64_t at)
{
    for (int64_t p = 0; p < SIDE; p++)
        for (int64_t q = 0; q < count * SIDE; q++)
            __builtin_prefetch(j->y + at + (p * j->y_width + q) * j->outputs, 1);
}

/* Compute `count` tiles of a row, CHUNK at most, from number `tile` on. */
INLINE vector run_chunk(const struct stem *j, int channels, int halves, int64_t row, int64_t tile,
                        int64_t count, const float *coordinates, float *sums)
{
    int64_t down = (j->y_height + SIDE - 1) / SIDE, y_row = row % down * SIDE;
    int64_t at = ((row / down * j->y_height + y_row) * j->y_width + tile * SIDE) * j->outputs;
    const int64_t kernels = 2 * MAPS(channels) * AXIS_POINTS * PANEL;
    vector zeros = {0};
    for (int64_t k = j->first_output; k < j->end_output; k += PANEL) {
        const float *w = j->w + k / PANEL * AXIS_POINTS * kernels;
        prefetch_outputs(j, count, at + k);
        for (int64_t q = 0; q < AXIS_POINTS; q++, w += kernels)
            for (int64_t i = 0, end; i < count; i = end) {
                end = next_rows(i, count, halves ? TILES / 2 : TILES);
                const float *a = coordinates + i * TILE_VALUES(channels) + q * 2 * LANES(channels);
                float *o = sums + (i * SIDE * AXIS_POINTS + q) * PANEL;
                switch (end - i) {
                case 1: write_sums(channels, 1, halves, a, w, o); break;
                case 2: write_sums(channels, 2, halves, a, w, o); break;
                default:
                    if (halves) break;
                    if (end - i == 3) write_sums(channels, 3, 0, a, w, o);
                    else write_sums(channels, 4, 0, a, w, o);
                }
            }
        for (int64_t i = 0; i < count; i++)
            zeros += write_outputs(j, sums + i * SIDE * AXIS_POINTS * PANEL, j->y_height - y_row,
                                   j->y_width - (tile + i) * SIDE, k,
                                   at + i * SIDE * j->outputs + k);
    }
    return zeros;
}

INLINE vector run_rows(const struct stem *j, int channels, int halves, float *scratch)
{
    int64_t columns = columns_of(j->y_width), across = tiles_across(j->y_width);
    float *turned = scratch + TILE_INPUTS * channels * columns;
    float *coordinates = turned + columns * LANES(channels);
    float *sums = coordinates + CHUNK * TILE_VALUES(channels);
    vector zeros = {0};
    for (int64_t row = j->first_row; row < j->end_row; row++) {
        copy_rows(j, channels, row, scratch);
        write_columns(channels, !halves, columns, scratch, turned);
        for (int64_t tile = 0, end; tile < across; tile = end) {
            end = tile + CHUNK < across ? tile + CHUNK : across;
            for (int64_t i = tile; i < end; i++)
                write_coordinates(channels, turned + i * TILE_STEP * LANES(channels),
                                  coordinates + (i - tile) * TILE_VALUES(channels));
            zeros += run_chunk(j, channels, halves, row, tile, end - tile, coordinates, sums);
        }
    }
    return zeros;
}

INLINE void run_job(struct stem *j, int rows, float *scratch)
{
    vector zeros = j->channels == 3 ? run_rows(j, 3, rows < ROWS, scratch)
                                    : run_rows(j, 1, rows < ROWS, scratch);
    j->finite = are_zeros(zeros);
}

DEFINE_JOBS_OF(stem)
DEFINE_FINITE_CALL(stem, stem)
