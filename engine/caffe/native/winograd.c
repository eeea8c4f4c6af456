/* 3 x 3 convolutions of float32 or bfloat16 maps by Winograd's F(4 x 4, 3 x 3), with channels last.
 *
 * winograd.py has the algorithm and its source. Here a job goes block by block: the tiles of a block
 * in coordinates, group by group the kernels in coordinates, their products, and from these the
 * outputs, so that no step waits for main memory. Jobs share no memory that they write: on some
 * machines a core gets what another core has written as slowly as from main memory. So a job computes
 * either some tiles or some outputs, and the change of basis of the other factor is done by each job.
 * All steps compute in float32; bfloat16 is what maps, or weights, have in memory.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "basis.h"

/* Coordinates of a tile. */
#define POINTS 36
/* Channels of a product at a time: few, so that its sums round less, and its factors stay in the
 * first cache. */
#define DEPTH 128
/* Tiles, and vectors of outputs, whose products are in memory at a time. */
#define PART 36
#define WIDE 4
/* Channels of PANEL kernels that are put in order at a time. */
#define CHUNK 16
/* A share of a tile's largest value, 2^-10, as a difference of floats' bits: outputs whose inputs are
 * all smaller are computed directly. */
#define SMALL (10 << 23)

/* What a job computes of the convolution of x with w. Maps are N x H x W x C in memory, kernels
 * K x C x 3 x 3. y = slope(x * w + b + other), where slope() multiplies
 * negative values by `slope`. b and other may be missing. x, other and y are bfloat16 if
 * `low_maps`, w if `low_weights`, else float32.
 *
 * A position of x has x_step values; x points to the first of the channels that the job reads, which
 * are those of its group. The job computes the tiles from first_tile on and the outputs from
 * first_output on, whose number is a multiple of PANEL, as is `channels`. Tiles are counted along the
 * rows of all images. */
struct convolution {
    int64_t taken;
    const void *x, *w;
    const float *b;
    const void *other;
    void *y;
    int64_t height, width, channels, outputs, y_height, y_width, x_step, top, left;
    int64_t first_tile, end_tile, first_output, end_output;
    int64_t block, group; /* tiles of a block; outputs of a group, a multiple of WIDE * PANEL */
    int64_t exact; /* whether small outputs are computed directly */
    float slope;
    int32_t finite; /* set to whether the results have neither NaN nor infinity */
    int32_t low_maps, low_weights;
};

/* Memory has an odd number of vectors between coordinates, so that they do not share a set of the
 * cache, and a vector more than its channels between tiles. */
INLINE int64_t tile_step(int64_t channels) { return channels + PANEL; }
INLINE int64_t plane_step(int64_t channels, int64_t block)
{
    return (tile_step(channels) * block / PANEL | 1) * PANEL;
}

/* Values between coordinates of PANEL kernels for up to DEPTH channels, and those of a panel. */
#define KERNEL_STEP ((DEPTH + 1) * PANEL)
INLINE int64_t panel_step(int64_t channels)
{
    return (channels + DEPTH - 1) / DEPTH * POINTS * KERNEL_STEP;
}

/* The values of a job's scratch memory: coordinates of tiles, of kernels, products, an output's
 * inputs, and the small outputs of tiles. */
int64_t caffe_native_winograd_scratch(int64_t channels, int64_t block, int64_t group)
{
    return POINTS * (plane_step(channels, block) + PART * WIDE * PANEL) +
           group / PANEL * panel_step(channels) + 9 * channels + block;
}

/* The six coordinates of one axis of a kernel; basis.h has those of tiles. */
INLINE void kernel_basis(vector *o, int64_t step, const vector *g)
{
    vector even = 0.25f * g[0] + 0.5f * g[2], odd = 0.353553391f * g[1];
    vector even2 = g[0] + 0.5f * g[2], odd2 = 0.707106781f * g[1];
    o[0] = 2 * g[0];
    o[step] = even + odd;
    o[2 * step] = even - odd;
    o[3 * step] = even2 + odd2;
    o[4 * step] = even2 - odd2;
    o[5 * step] = 2 * g[2];
}

/* ---- tiles, kernels, products and outputs ------------------------------------------------------ */

/* Where a tile lies: its image, and its first row and column among the outputs. */
struct place { int64_t image, row, column; };

INLINE struct place tile_place(const struct convolution *j, int64_t tile)
{
    int64_t down = (j->y_height + 3) / 4, across = (j->y_width + 3) / 4, row = tile / across;
    struct place place = {row / down, 4 * (row % down), 4 * (tile % across)};
    return place;
}

/* Write a tile's coordinates, plane_step apart. inside: whether all of the tile lies on the map,
 * which continues with zeros beyond its edges. first: the number of the tile's first value, which
 * may lie beyond. */
INLINE void write_tile_at(const struct convolution *j, int inside, int low, int64_t first,
                          int64_t top, int64_t left, int64_t plane, float *out)
{
    int64_t step = j->x_step, row_step = j->width * step;
    for (int64_t c = 0; c < j->channels; c += PANEL) {
        vector half[6][6];
        UNROLL for (int q = 0; q < 6; q++) {
            vector d[6];
            UNROLL for (int p = 0; p < 6; p++) {
                int64_t row = top + p, column = left + q;
                d[p] = (vector){0};
                if (inside || (row >= 0 && column >= 0 && row < j->height && column < j->width))
                    d[p] = load(j->x, first + p * row_step + q * step + c, low);
            }
            tile_basis(&half[0][q], 6, d);
        }
        UNROLL for (int p = 0; p < 6; p++) {
            vector o[6];
            tile_basis(o, 1, half[p]);
            UNROLL for (int q = 0; q < 6; q++) *(vector *)(out + (6 * p + q) * plane + c) = o[q];
        }
    }
}

INLINE void write_tile(const struct convolution *j, int64_t tile, int64_t plane, float *out)
{
    struct place place = tile_place(j, tile);
    int64_t top = place.row - j->top, left = place.column - j->left;
    int64_t first = ((place.image * j->height + top) * j->width + left) * j->x_step;
    int inside = top >= 0 && left >= 0 && top + 6 <= j->height && left + 6 <= j->width;
    if (!inside) write_tile_at(j, 0, j->low_maps, first, top, left, plane, out);
    else if (j->low_maps) write_tile_at(j, 1, 1, first, top, left, plane, out);
    else write_tile_at(j, 1, 0, first, top, left, plane, out);
}

/* Turn PANEL rows of PANEL values, a_step apart, into columns. */
INLINE void turn(float *o, const void *a, int64_t a_step, int low, int has_wide_shuffles)
{
    if (has_wide_shuffles) {
        vector rows[PANEL];
        UNROLL for (int i = 0; i < PANEL; i++) {
            rows[i] = load(a, i * a_step, low);
            __builtin_prefetch(address(a, i * a_step + CHUNK * 9, low));
        }
        TURN_SQUARE(rows)
        UNROLL for (int i = 0; i < PANEL; i++) *(vector *)(o + i * PANEL) = rows[i];
        return;
    }
    for (int i = 0; i < PANEL; i++) {
        vector row = load(a, i * a_step, low);
        for (int k = 0; k < PANEL; k++) o[k * PANEL + i] = row[k];
    }
}

/* Write the coordinates of PANEL kernels for n channels, DEPTH at most, from `start` on: coordinates x
 * DEPTH + 1 x PANEL. */
INLINE void write_kernels_of(const struct convolution *j, int low, int has_wide_shuffles,
                             int64_t first, int64_t start, int64_t n, float *out)
{
    float turned[CHUNK * 9][PANEL];
    const int64_t row = 9 * j->channels;
    const void *w = address(j->w, first * row + start * 9, low);
    for (int64_t c = 0; c < n; c++, out += PANEL) {
        if (c % CHUNK == 0)
            for (int64_t i = 0; i < CHUNK * 9; i += PANEL)
                turn(turned[i], address(w, c * 9 + i, low), row, low, has_wide_shuffles);
        vector half[6][3];
        UNROLL for (int q = 0; q < 3; q++) {
            vector g[3];
            UNROLL for (int p = 0; p < 3; p++)
                g[p] = *(const vector *)turned[c % CHUNK * 9 + 3 * p + q];
            kernel_basis(&half[0][q], 3, g);
        }
        UNROLL for (int p = 0; p < 6; p++) {
            vector o[6];
            kernel_basis(o, 1, half[p]);
            UNROLL for (int q = 0; q < 6; q++) *(vector *)(out + (6 * p + q) * KERNEL_STEP) = o[q];
        }
    }
}

INLINE void write_kernels(const struct convolution *j, int has_wide_shuffles, int64_t first,
                          int64_t start, int64_t n, float *out)
{
    if (j->low_weights) write_kernels_of(j, 1, has_wide_shuffles, first, start, n, out);
    else write_kernels_of(j, 0, has_wide_shuffles, first, start, n, out);
}

/* Write, or add, `rows` rows and PANEL columns of a product over n channels. */
INLINE void multiply(int rows, int halves, int64_t n, int adds, const float *a, int64_t a_step, const float *b,
                     float *o)
{
    vector sum[ROWS];
    UNROLL for (int i = 0; i < rows; i++) sum[i] = (vector){0};
    add_products(rows, halves, n, a, a_step, 1, b, PANEL, sum);
    UNROLL for (int i = 0; i < rows; i++) {
        vector *place = (vector *)(o + i * WIDE * PANEL);
        if (adds) *place += sum[i];
        else *place = sum[i];
    }
}

/* Write the products of tiles, tile_step apart, and kernels, panel_size apart, over the channels from
 * `start` to `stop`: coordinates x PART x WIDE x PANEL. Products over those before are added to. */
INLINE void write_products(const struct convolution *j, int rows, const float *tiles, int64_t count,
                           int64_t plane, const float *kernels, int64_t panels, int64_t panel_size,
                           int64_t start, int64_t stop, float *out)
{
    int64_t a_step = tile_step(j->channels);
    for (int64_t point = 0; point < POINTS; point++)
        for (int64_t c = start; c < stop; c += DEPTH) {
            int64_t n = stop - c < DEPTH ? stop - c : DEPTH;
            for (int64_t panel = 0; panel < panels; panel++) {
                const float *a = tiles + point * plane + c, *b = kernels + panel * panel_size;
                float *o = out + point * PART * WIDE * PANEL + panel * PANEL;
                b += ((c - start) / DEPTH * POINTS + point) * KERNEL_STEP;
                for (int64_t i = 0, end; i < count; i = end) {
                    end = next_rows(i, count, rows);
#define CASE(N) \
    multiply(N, rows < ROWS, n, c > 0, a + i * a_step, a_step, b, o + i * WIDE * PANEL)
                    EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
                }
            }
        }
}

/* Write PANEL outputs of a tile; return zeros, or NaN where a result is not finite. rows, columns:
 * of the tile's outputs that lie on the map. */
INLINE vector write_outputs_at(const struct convolution *j, int low, int64_t rows, int64_t columns,
                               const float *products, int64_t first, int64_t at)
{
    vector half[4][6], bias = {0}, zeros = {0};
    if (j->b) bias = *(const vector *)(j->b + first);
    UNROLL for (int q = 0; q < 6; q++) {
        vector m[6];
        UNROLL for (int p = 0; p < 6; p++)
            m[p] = *(const vector *)(products + (6 * p + q) * PART * WIDE * PANEL);
        output_basis(4, &half[0][q], 6, m);
    }
    UNROLL for (int p = 0; p < 4; p++) {
        vector o[4];
        output_basis(4, o, 1, half[p]);
        UNROLL for (int q = 0; q < 4; q++) {
            if (p >= rows || q >= columns) continue;
            int64_t i = at + (p * j->y_width + q) * j->outputs;
            vector value = o[q] + bias;
            zeros += value * 0;
            if (j->other) value += load(j->other, i, low);
            if (j->slope != 1) value = rectified(value, j->slope);
            store(j->y, i, value, low);
        }
    }
    return zeros;
}

INLINE vector write_outputs(const struct convolution *j, struct place place, const float *products,
                            int64_t first)
{
    int64_t rows = j->y_height - place.row, columns = j->y_width - place.column;
    int64_t at = ((place.image * j->y_height + place.row) * j->y_width + place.column) *
                 j->outputs + first;
    if (rows < 4 || columns < 4)
        return write_outputs_at(j, j->low_maps, rows, columns, products, first, at);
    if (j->low_maps) return write_outputs_at(j, 1, 4, 4, products, first, at);
    return write_outputs_at(j, 0, 4, 4, products, first, at);
}

/* ---- small outputs ----------------------------------------------------------------------------- */

/* The larger numbers of two vectors. */
INLINE mask larger(mask a, mask b)
{
    mask first = a > b;
    return (a & first) | (b & ~first);
}

INLINE int32_t largest(mask values)
{
    int32_t result = 0;
    for (int i = 0; i < PANEL; i++) result = values[i] > result ? values[i] : result;
    return result;
}

/* The largest of n values of the map from number `first` on, without signs and as integers. */
INLINE mask sizes(const struct convolution *j, int low, int64_t first, int64_t n)
{
    mask result = {0};
    for (int64_t c = 0; c < n; c += PANEL)
        result = larger(result, (mask)load(j->x, first + c, low) & INT32_MAX);
    return result;
}

/* Return the outputs of a tile whose inputs are zeros or small, beside much larger values in the tile:
 * bit 6 * p + q for that in row p and column q. The roundings of the large values would hide their
 * signs, and a ReLU would then pass the wrong gradients on. */
INLINE int32_t small_outputs_at(const struct convolution *j, int low, struct place place)
{
    int64_t top = place.row - j->top, left = place.column - j->left, places = 0;
    int64_t p0 = top < 0 ? -top : 0, q0 = left < 0 ? -left : 0, n = j->channels;
    int64_t row_step = j->width * j->x_step;
    int64_t p1 = j->height - top < 6 ? j->height - top : 6;
    int64_t q1 = j->width - left < 6 ? j->width - left : 6;
    int64_t first = ((place.image * j->height + top) * j->width + left) * j->x_step;
    mask all = {0}, large = {0};
    for (int64_t p = p0; p < p1; p++)
        for (int64_t q = q0; q < q1; q++)
            all = larger(all, sizes(j, low, first + p * row_step + q * j->x_step, n));
    int32_t most = largest(all), limit = most > SMALL ? most - SMALL : 1;
    if (!most) return 0;
    /* The inputs of each output contain one of the four positions in the middle. */
    for (int64_t p = p0 < 2 ? 2 : p0; p < p1 && p < 4; p++)
        for (int64_t q = q0 < 2 ? 2 : q0; q < q1 && q < 4; q++)
            large |= (sizes(j, low, first + p * row_step + q * j->x_step, n) >= limit) &
                     1 << (2 * p + q - 6);
    for (int i = 0; i < PANEL; i++) places |= large[i];
    if (places == 15) return 0;
    places = 0;
    for (int64_t p = p0; p < p1; p++)
        for (int64_t q = q0; q < q1; q++)
            if (largest(sizes(j, low, first + p * row_step + q * j->x_step, n)) >= limit)
                places |= (int64_t)1 << (6 * p + q);
    places = ~places;
    places &= places >> 1 & places >> 2;
    places &= places >> 6 & places >> 12;
    return places & (15 | 15 << 6 | 15 << 12 | 15 << 18);
}

INLINE int32_t small_outputs(const struct convolution *j, struct place place)
{
    if (!j->exact) return 0;
    return j->low_maps ? small_outputs_at(j, 1, place) : small_outputs_at(j, 0, place);
}

/* Write the inputs of an output in the order of a kernel, C x 3 x 3; return whether all are zeros. */
INLINE int write_inputs(const struct convolution *j, int64_t image, int64_t row, int64_t column,
                        float *inputs)
{
    int zero = 1;
    memset(inputs, 0, 9 * j->channels * sizeof *inputs);
    for (int64_t i = 0; i < 9; i++) {
        int64_t y = row - j->top + i / 3, x = column - j->left + i % 3;
        if (y < 0 || x < 0 || y >= j->height || x >= j->width) continue;
        int64_t first = ((image * j->height + y) * j->width + x) * j->x_step;
        if (!largest(sizes(j, j->low_maps, first, j->channels))) continue;
        zero = 0;
        for (int64_t c = 0; c < j->channels; c += PANEL) {
            vector values = load(j->x, first + c, j->low_maps);
            for (int k = 0; k < PANEL; k++) inputs[9 * (c + k) + i] = values[k];
        }
    }
    return zero;
}

/* Return the products of an output's inputs and PANEL kernels. */
INLINE vector direct_products(const struct convolution *j, const float *inputs, int64_t first)
{
    const int64_t count = 9 * j->channels;
    float results[PANEL] = {0};
    for (int k = 0; k < PANEL; k++) {
        vector sum = {0};
        for (int64_t i = 0; i < count; i += PANEL)
            sum += *(const vector *)(inputs + i) *
                   load(j->w, (first + k) * count + i, j->low_weights);
        for (int i = 0; i < PANEL; i++) results[k] += sum[i];
    }
    return *(vector *)results;
}

/* Write a tile's small outputs once more, those from number `first` to `end` - 1. */
INLINE void write_small_outputs(const struct convolution *j, struct place place, int32_t small,
                                int64_t first, int64_t end, float *inputs)
{
    for (; small; small &= small - 1) {
        int bit = __builtin_ctz(small);
        int64_t row = place.row + bit / 6, column = place.column + bit % 6;
        if (row >= j->y_height || column >= j->y_width) continue;
        int64_t at = ((place.image * j->y_height + row) * j->y_width + column) * j->outputs;
        int zero = write_inputs(j, place.image, row, column, inputs);
        for (int64_t k = first; k < end; k += PANEL) {
            vector value = zero ? (vector){0} : direct_products(j, inputs, k);
            if (j->b) value += *(const vector *)(j->b + k);
            if (j->other) value += load(j->other, at + k, j->low_maps);
            if (j->slope != 1) value = rectified(value, j->slope);
            store(j->y, at + k, value, j->low_maps);
        }
    }
}

/* ---- jobs -------------------------------------------------------------------------------------- */

/* Write the coordinates of the kernels from `first` to `end`, panel by panel. */
INLINE void write_group(const struct convolution *j, int rows, int64_t first, int64_t end,
                        float *kernels)
{
    for (int64_t k = first; k < end; k += PANEL)
        for (int64_t c = 0; c < j->channels; c += DEPTH, kernels += POINTS * KERNEL_STEP) {
            int64_t n = j->channels - c < DEPTH ? j->channels - c : DEPTH;
            write_kernels(j, rows == ROWS, k, c, n, kernels);
        }
}

/* Write the outputs of tiles from their products; return zeros, or NaN as write_outputs. small: the
 * small outputs of the tiles. inputs: memory for the inputs of an output. */
INLINE vector write_tiles(const struct convolution *j, int64_t first_tile, int64_t count,
                          int64_t panels, int64_t first, const float *products,
                          const int32_t *small, float *inputs)
{
    vector zeros = {0};
    for (int64_t i = 0; i < count; i++) {
        struct place place = tile_place(j, first_tile + i);
        for (int64_t p = 0; p < panels; p++)
            zeros += write_outputs(j, place, products + (i * WIDE + p) * PANEL, first + p * PANEL);
        write_small_outputs(j, place, small[i], first, first + panels * PANEL, inputs);
    }
    return zeros;
}

/* Compute a block of so few tiles that the coordinates of each kernel are needed once: those of few
 * channels at a time, which stay in the second cache. */
INLINE vector run_part(const struct convolution *j, int rows, int64_t start, int64_t count,
                       int64_t plane, const float *tiles, float *kernels, float *products,
                       const int32_t *small, float *inputs)
{
    vector zeros = {0};
    for (int64_t k = j->first_output; k < j->end_output; k += PANEL) {
        for (int64_t c = 0; c < j->channels; c += DEPTH) {
            int64_t end = c + DEPTH < j->channels ? c + DEPTH : j->channels;
            write_kernels(j, rows == ROWS, k, c, end - c, kernels);
            write_products(j, rows, tiles, count, plane, kernels, 1, 0, c, end, products);
        }
        zeros += write_tiles(j, start, count, 1, k, products, small, inputs);
    }
    return zeros;
}

INLINE void run_job(struct convolution *j, int rows, float *scratch)
{
    float *tiles = scratch, *kernels = tiles + POINTS * plane_step(j->channels, j->block);
    int64_t panel_size = panel_step(j->channels);
    float *products = kernels + j->group / PANEL * panel_size;
    float *inputs = products + POINTS * PART * WIDE * PANEL;
    int32_t *small = (int32_t *)(inputs + 9 * j->channels);
    int single = j->end_output - j->first_output <= j->group;
    vector zeros = {0};
    for (int64_t start = j->first_tile; start < j->end_tile; start += j->block) {
        int64_t left = j->end_tile - start, count = left < j->block ? left : j->block;
        int64_t plane = plane_step(j->channels, count);
        for (int64_t i = 0; i < count; i++) {
            write_tile(j, start + i, plane, tiles + i * tile_step(j->channels));
            small[i] = small_outputs(j, tile_place(j, start + i));
        }
        if (j->end_tile - j->first_tile <= PART) {
            zeros += run_part(j, rows, start, count, plane, tiles, kernels, products, small,
                              inputs);
            continue;
        }
        for (int64_t first = j->first_output; first < j->end_output; first += j->group) {
            int64_t end = first + j->group < j->end_output ? first + j->group : j->end_output;
            if (!single || start == j->first_tile)
                write_group(j, rows, first, end, kernels);
            for (int64_t part = 0; part < count; part += PART)
                for (int64_t k = first; k < end; k += WIDE * PANEL) {
                    int64_t some = count - part < PART ? count - part : PART;
                    int64_t panels = (end - k) / PANEL < WIDE ? (end - k) / PANEL : WIDE;
                    write_products(j, rows, tiles + part * tile_step(j->channels), some, plane,
                                   kernels + (k - first) / PANEL * panel_size, panels,
                                   panel_size, 0, j->channels, products);
                    zeros += write_tiles(j, start + part, some, panels, k, products,
                                         small + part, inputs);
                }
        }
    }
    j->finite = 1;
    for (int i = 0; i < PANEL; i++) j->finite &= zeros[i] == 0;
}

DEFINE_JOBS_OF(convolution)

/* Run jobs on the threads of a team; return whether all results are finite. */
int caffe_native_winograd(struct convolution *first, int64_t count, const struct team *team)
{
    run_jobs_of(first, count, team);
    int finite = 1;
    for (int64_t i = 0; i < count; i++) finite &= first[i].finite;
    return finite;
}
