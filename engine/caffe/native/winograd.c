/* Convolutions of float32 or bfloat16 maps by Winograd's algorithm, with channels last.
 *
 * winograd.py has the algorithm and its source. Kernels of 3 x 3 are multiplied by F(4 x 4, 3 x 3),
 * those of 4 x 4 by F(3 x 3, 4 x 4). Larger kernels, up to 8 x 8, are cut into four pieces of one of
 * these sizes, filled up with zeros; the convolution is the sum of those with the pieces, each of
 * which sees tiles of its own. Products add up the pieces of some channels, then those of the next.
 *
 * A job goes block by block: the tiles of a block in coordinates, group by group the kernels in
 * coordinates, their products, and from these the outputs, so that no step waits for main memory. Jobs share no memory that they write: on some
 * machines a core gets what another core has written as slowly as from main memory. So a job computes
 * either some tiles or some outputs, and the change of basis of the other factor is done by each job.
 * All steps compute in float32; bfloat16 is what maps, or weights, have in memory.
 */
#include <stdint.h>
#include <string.h>

#include "vectors.h"
#include "basis.h"
#include "kernels.h"

/* Channels of a product at a time, or pieces of channels: few, so that its sums round less, and its
 * factors stay in the first cache. */
#define DEPTH 128
/* Tiles, and vectors of outputs, whose products are in memory at a time. */
#define PART 36
#define WIDE 4
/* Values between products of coordinates, an odd number of vectors: they do not share a set of the
 * cache. */
#define POINT_STEP ((PART * WIDE + 1) * PANEL)
/* Channels of PANEL 3 x 3 kernels that are put in order at a time. */
#define CHUNK 16
/* Inputs of a tile with the largest kernel, along an axis. */
#define WINDOW (KERNEL + 2)
/* A share of a tile's largest value, 2^-10, as a difference of floats' bits: outputs whose inputs are
 * all smaller are computed directly. */
#define SMALL (10 << 23)

/* What a job computes of the convolution of x with w. Maps are N x H x W x C in memory, kernels
 * K x C x kernel x kernel. y = slope(x * w + b + other), where slope() multiplies
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
    int64_t height, width, channels, outputs, y_height, y_width, x_step, kernel, top, left;
    int64_t first_tile, end_tile, first_output, end_output;
    int64_t block, group; /* tiles of a block; outputs of a group, a multiple of WIDE * PANEL */
    int64_t exact; /* whether small outputs are computed directly */
    float slope;
    int32_t finite; /* set to whether the results have neither NaN nor infinity */
    int32_t low_maps, low_weights;
};

/* Channels whose pieces make up a product of DEPTH. */
INLINE int64_t some_channels(const struct convolution *j) { return DEPTH / pieces_of(j->kernel); }

/* Memory has an odd number of vectors between coordinates, so that they do not share a set of the
 * cache, and a vector more than the pieces of its channels between tiles. */
INLINE int64_t tile_step(int64_t depth) { return depth + PANEL; }
INLINE int64_t plane_step(int64_t depth, int64_t block)
{
    return (tile_step(depth) * block / PANEL | 1) * PANEL;
}
INLINE int64_t depth_of(const struct convolution *j) { return j->channels * pieces_of(j->kernel); }

/* Values between coordinates of PANEL kernels for up to DEPTH pieces, and those of a panel. */
#define KERNEL_STEP ((DEPTH + 1) * PANEL)
INLINE int64_t panel_step(int64_t depth)
{
    return (depth + DEPTH - 1) / DEPTH * POINTS * KERNEL_STEP;
}

/* The values of a job's scratch memory: coordinates of tiles, of kernels, products, an output's
 * inputs, and the small outputs of tiles. */
int64_t caffe_native_winograd_scratch(int64_t channels, int64_t kernel, int64_t block, int64_t group)
{
    int64_t depth = channels * pieces_of(kernel);
    return POINTS * (plane_step(depth, block) + POINT_STEP) +
           group / PANEL * panel_step(depth) + kernel * kernel * channels + block;
}

/* ---- tiles, kernels, products and outputs ------------------------------------------------------ */

/* Where a tile lies: its image, and its first row and column among the outputs. */
struct place { int64_t image, row, column; };

INLINE struct place tile_place(const struct convolution *j, int64_t tile)
{
    int64_t side = SIDE_OF(taps_of(j->kernel));
    int64_t down = (j->y_height + side - 1) / side, across = (j->y_width + side - 1) / side;
    int64_t row = tile / across;
    struct place place = {row / down, side * (row % down), side * (tile % across)};
    return place;
}

/* Write the coordinates of the tile that a piece of the kernels sees, some channels at a time with
 * those of the other pieces behind them. */
INLINE void write_piece_tile(const struct convolution *j, struct place place, int64_t piece,
                             int64_t plane, float *out)
{
    int64_t taps = taps_of(j->kernel), top = place.row - j->top + piece / 2 * taps;
    int64_t left = place.column - j->left + piece % 2 * taps;
    int64_t start = ((place.image * j->height + top) * j->width + left) * j->x_step;
    int64_t step = j->x_step, row_step = j->width * step;
    int64_t positions = positions_on_map(AXIS_POINTS, top, left, j->height, j->width);
    int64_t pieces = pieces_of(j->kernel), most = pieces == 1 ? j->channels : some_channels(j);
    for (int64_t c = 0, n; c < j->channels; c += n) {
        n = j->channels - c < most ? j->channels - c : most;
        write_square(j->x, j->low_maps, start + c, row_step, step, AXIS_POINTS, positions, n, plane,
                     out + pieces * c + piece * n);
    }
}

/* Write the coordinates of PANEL 3 x 3 kernels for n channels, DEPTH at most, from `start` on:
 * coordinates x DEPTH + 1 x PANEL. */
INLINE void write_small_kernels(const struct convolution *j, int low, int has_wide_shuffles,
                                int64_t first, int64_t start, int64_t n, float *out)
{
    float turned[CHUNK * 9][PANEL];
    const int64_t row = 9 * j->channels;
    const void *w = address(j->w, first * row + start * 9, low);
    for (int64_t c = 0; c < n; c++, out += PANEL) {
        const float *g[9];
        if (c % CHUNK == 0)
            for (int64_t i = 0; i < CHUNK * 9; i += PANEL)
                turn(turned[i], address(w, c * 9 + i, low), row, CHUNK * 9, low, has_wide_shuffles);
        UNROLL for (int i = 0; i < 9; i++) g[i] = turned[c % CHUNK * 9 + i];
        write_piece(3, g, KERNEL_STEP, out);
    }
}

/* Write the coordinates of all pieces of PANEL larger kernels likewise: those of n channels for the
 * first piece, then for the next. */
INLINE void write_large_kernels(const struct convolution *j, int taps, int low,
                                int has_wide_shuffles, int64_t first, int64_t start, int64_t n,
                                float *out)
{
    /* The weights of a channel, and zeros for those of a piece that lie beyond the kernel. */
    float turned[KERNEL * KERNEL + 1][PANEL];
    const float *g[4][16];
    const int64_t size = j->kernel * j->kernel, row = size * j->channels;
    int64_t pieces = pieces_of(j->kernel);
    const void *w = address(j->w, first * row + start * size, low);
    memset(turned[size], 0, sizeof turned[size]);
    find_pieces(j->kernel, taps, turned, g);
    for (int64_t c = 0; c < n; c++) {
        for (int64_t i = 0; i < size; i += PANEL) {
            int64_t at = i + PANEL < size ? i : size - PANEL;
            turn(turned[at], address(w, c * size + at, low), row, CHUNK * 9, low, has_wide_shuffles);
        }
        for (int64_t piece = 0; piece < pieces; piece++)
            write_piece(taps, g[piece], KERNEL_STEP, out + (piece * n + c) * PANEL);
    }
}

INLINE void write_kernels(const struct convolution *j, int low, int has_wide_shuffles, int64_t first,
                          int64_t start, int64_t n, float *out)
{
    if (j->kernel == 3) write_small_kernels(j, low, has_wide_shuffles, first, start, n, out);
    else if (taps_of(j->kernel) == 3)
        write_large_kernels(j, 3, low, has_wide_shuffles, first, start, n, out);
    else write_large_kernels(j, 4, low, has_wide_shuffles, first, start, n, out);
}

DEFINE_STEP(write_kernels,
            (const struct convolution *j, int64_t first, int64_t start, int64_t n, float *out),
            if (j->low_weights) write_kernels(j, 1, rows == ROWS, first, start, n, out);
            else write_kernels(j, 0, rows == ROWS, first, start, n, out))

/* Write, or add, `rows` rows, o_step apart, and PANEL columns of a product over n channels. */
INLINE void multiply(int rows, int halves, int64_t n, int adds, const float *a, int64_t a_step,
                     const float *b, int64_t o_step, float *o)
{
    vector sum[ROWS];
    UNROLL for (int i = 0; i < rows; i++) sum[i] = (vector){0};
    add_products(rows, halves, n, a, a_step, 1, b, PANEL, sum);
    UNROLL for (int i = 0; i < rows; i++) {
        vector *place = (vector *)(o + i * o_step);
        if (adds) *place += sum[i];
        else *place = sum[i];
    }
}

/* Write the products of tiles, tile_step apart, and kernels, panel_size apart, over the pieces of
 * channels from `start` to `stop`. Products over those before are added to. The products of a
 * coordinate are POINT_STEP values apart, those of a tile width * PANEL. */
INLINE void write_products(const struct convolution *j, int rows, const float *tiles, int64_t count,
                           int64_t plane, const float *kernels, int64_t panels, int64_t panel_size,
                           int64_t width, int64_t start, int64_t stop, float *out)
{
    int64_t a_step = tile_step(depth_of(j)), o_step = width * PANEL;
    for (int64_t point = 0; point < POINTS; point++)
        for (int64_t c = start; c < stop; c += DEPTH) {
            int64_t n = stop - c < DEPTH ? stop - c : DEPTH;
            for (int64_t panel = 0; panel < panels; panel++) {
                const float *a = tiles + point * plane + c, *b = kernels + panel * panel_size;
                float *o = out + point * POINT_STEP + panel * PANEL;
                b += ((c - start) / DEPTH * POINTS + point) * KERNEL_STEP;
                for (int64_t i = 0, end; i < count; i = end) {
                    end = next_rows(i, count, rows);
#define CASE(N) \
    multiply(N, rows < ROWS, n, c > 0, a + i * a_step, a_step, b, o_step, o + i * o_step)
                    EACH_NUMBER_OF_ROWS(end - i, rows, CASE)
#undef CASE
                }
            }
        }
}

DEFINE_STEP(write_products,
            (const struct convolution *j, const float *tiles, int64_t count, int64_t plane,
             const float *kernels, int64_t panels, int64_t panel_size, int64_t width, int64_t start,
             int64_t stop, float *out),
            write_products(j, rows, tiles, count, plane, kernels, panels, panel_size, width, start,
                           stop, out))

/* Write PANEL outputs of a tile; return zeros, or NaN where a result is not finite. rows, columns:
 * of the tile's outputs that lie on the map. */
INLINE vector write_outputs_at(const struct convolution *j, int taps, int low, int64_t rows,
                               int64_t columns, const float *products, int64_t first, int64_t at)
{
    vector half[4][6], bias = {0}, zeros = {0};
    if (j->b) bias = *(const vector *)(j->b + first);
    UNROLL for (int q = 0; q < 6; q++) {
        vector m[6];
        UNROLL for (int p = 0; p < 6; p++)
            m[p] = *(const vector *)(products + (6 * p + q) * POINT_STEP);
        output_basis(SIDE_OF(taps), &half[0][q], 6, m);
    }
    UNROLL for (int p = 0; p < SIDE_OF(taps); p++) {
        vector o[4];
        output_basis(SIDE_OF(taps), o, 1, half[p]);
        UNROLL for (int q = 0; q < SIDE_OF(taps); q++) {
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

INLINE vector write_panel(const struct convolution *j, int taps, struct place place,
                          const float *products, int64_t first)
{
    const int64_t side = SIDE_OF(taps);
    int64_t rows = j->y_height - place.row, columns = j->y_width - place.column;
    int64_t at = ((place.image * j->y_height + place.row) * j->y_width + place.column) *
                 j->outputs + first;
    if (rows < side || columns < side)
        return write_outputs_at(j, taps, j->low_maps, rows, columns, products, first, at);
    if (j->low_maps) return write_outputs_at(j, taps, 1, side, side, products, first, at);
    return write_outputs_at(j, taps, 0, side, side, products, first, at);
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

/* Bit numbers of outputs of a tile: 4 * p + q for that in row p and column q. */
#define OUTPUT_BIT(p, q) (4 * (p) + (q))

/* Return the outputs of a tile that see the input in row p and column q, as bits. */
INLINE int32_t seeing_outputs(int64_t side, int64_t kernel, int64_t p, int64_t q)
{
    int32_t row = 0, all = 0;
    for (int64_t i = 0; i < side; i++)
        if (q - kernel < i && i <= q) row |= 1 << i;
    for (int64_t i = 0; i < side; i++)
        if (p - kernel < i && i <= p) all |= row << OUTPUT_BIT(i, 0);
    return all;
}

/* Return the outputs of a tile whose inputs are zeros or small, beside much larger values in the tile,
 * as bits. The roundings of the large values would hide their signs, and a ReLU would then pass the
 * wrong gradients on. */
INLINE int32_t small_outputs_at(const struct convolution *j, int low, struct place place)
{
    int64_t side = SIDE_OF(taps_of(j->kernel)), window = side - 1 + j->kernel, n = j->channels;
    int64_t top = place.row - j->top, left = place.column - j->left;
    int64_t p0 = top < 0 ? -top : 0, q0 = left < 0 ? -left : 0;
    int64_t row_step = j->width * j->x_step;
    int64_t p1 = j->height - top < window ? j->height - top : window;
    int64_t q1 = j->width - left < window ? j->width - left : window;
    int64_t first = ((place.image * j->height + top) * j->width + left) * j->x_step;
    int32_t values[WINDOW][WINDOW], most = 0, small = side == 4 ? 0xffff : 0x777;
    for (int64_t p = p0; p < p1; p++)
        for (int64_t q = q0; q < q1; q++) {
            values[p][q] = largest(sizes(j, low, first + p * row_step + q * j->x_step, n));
            most = values[p][q] > most ? values[p][q] : most;
        }
    int32_t limit = most > SMALL ? most - SMALL : 1;
    if (!most) return 0;
    /* Most often inputs in the middle are large, and all outputs see one of them. */
    for (int middle = 1; middle >= 0; middle--)
        for (int64_t p = p0; p < p1; p++)
            for (int64_t q = q0; q < q1; q++) {
                if (middle && (p < side / 2 || q < side / 2)) continue;
                if (values[p][q] >= limit) small &= ~seeing_outputs(side, j->kernel, p, q);
                if (!small) return 0;
            }
    return small;
}

INLINE int32_t small_outputs(const struct convolution *j, struct place place)
{
    if (!j->exact) return 0;
    return j->low_maps ? small_outputs_at(j, 1, place) : small_outputs_at(j, 0, place);
}

/* Write the inputs of an output in the order of a kernel, C x kernel x kernel; return whether all are
 * zeros. */
INLINE int write_inputs(const struct convolution *j, int64_t image, int64_t row, int64_t column,
                        float *inputs)
{
    int64_t size = j->kernel * j->kernel;
    int zero = 1;
    memset(inputs, 0, size * j->channels * sizeof *inputs);
    for (int64_t i = 0; i < size; i++) {
        int64_t y = row - j->top + i / j->kernel, x = column - j->left + i % j->kernel;
        if (y < 0 || x < 0 || y >= j->height || x >= j->width) continue;
        int64_t first = ((image * j->height + y) * j->width + x) * j->x_step;
        if (!largest(sizes(j, j->low_maps, first, j->channels))) continue;
        zero = 0;
        for (int64_t c = 0; c < j->channels; c += PANEL) {
            vector values = load(j->x, first + c, j->low_maps);
            for (int k = 0; k < PANEL; k++) inputs[size * (c + k) + i] = values[k];
        }
    }
    return zero;
}

/* Return the products of an output's inputs and PANEL kernels. */
INLINE vector direct_products(const struct convolution *j, const float *inputs, int64_t first)
{
    const int64_t count = j->kernel * j->kernel * j->channels;
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
INLINE void write_tile_again(const struct convolution *j, struct place place, int32_t small,
                                int64_t first, int64_t end, float *inputs)
{
    for (; small; small &= small - 1) {
        int bit = __builtin_ctz(small);
        int64_t row = place.row + bit / 4, column = place.column + bit % 4;
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

/* Write the small outputs of tiles once more. small: those of each tile. inputs: memory for the inputs
 * of an output. */
INLINE void write_small_outputs(const struct convolution *j, int64_t first_tile, int64_t count,
                                const int32_t *small, int64_t first, int64_t end, float *inputs)
{
    for (int64_t i = 0; i < count; i++)
        if (small[i])
            write_tile_again(j, tile_place(j, first_tile + i), small[i], first, end, inputs);
}

DEFINE_STEP(write_small_outputs,
            (const struct convolution *j, int64_t first_tile, int64_t count, const int32_t *small,
             int64_t first, int64_t end, float *inputs),
            write_small_outputs(j, first_tile, count, small, first, end, inputs))

/* ---- jobs -------------------------------------------------------------------------------------- */

/* Write the coordinates of `count` tiles from number `first` on, and which of their outputs are small. */
INLINE void write_tiles(const struct convolution *j, int64_t first, int64_t count, int64_t plane,
                        float *tiles, int32_t *small)
{
    for (int64_t i = 0; i < count; i++, tiles += tile_step(depth_of(j))) {
        struct place place = tile_place(j, first + i);
        for (int64_t piece = 0; piece < pieces_of(j->kernel); piece++)
            write_piece_tile(j, place, piece, plane, tiles);
        small[i] = small_outputs(j, place);
    }
}

DEFINE_STEP(write_tiles,
            (const struct convolution *j, int64_t first, int64_t count, int64_t plane, float *tiles,
             int32_t *small),
            write_tiles(j, first, count, plane, tiles, small))

/* Write the coordinates of the kernels from `first` to `end`, panel by panel. */
INLINE void write_group(const struct convolution *j, int rows, int64_t first, int64_t end,
                        float *kernels)
{
    int64_t some = some_channels(j);
    for (int64_t k = first; k < end; k += PANEL)
        for (int64_t c = 0; c < j->channels; c += some, kernels += POINTS * KERNEL_STEP) {
            int64_t n = j->channels - c < some ? j->channels - c : some;
            STEP(write_kernels, rows)(j, k, c, n, kernels);
        }
}

/* Write the outputs of tiles from their products; add zeros, or NaN where a result is not finite.
 * width: as in write_products. */
INLINE void write_outputs(const struct convolution *j, int taps, int64_t first_tile, int64_t count,
                          int64_t panels, int64_t width, int64_t first, const float *products,
                          vector *zeros)
{
    vector sum = {0};
    for (int64_t i = 0; i < count; i++) {
        struct place place = tile_place(j, first_tile + i);
        for (int64_t p = 0; p < panels; p++) {
            const float *tile = products + (i * width + p) * PANEL;
            sum += write_panel(j, taps, place, tile, first + p * PANEL);
        }
    }
    *zeros += sum;
}

DEFINE_STEP(write_outputs,
            (const struct convolution *j, int64_t first_tile, int64_t count, int64_t panels,
             int64_t width, int64_t first, const float *products, vector *zeros),
            if (taps_of(j->kernel) == 3)
                write_outputs(j, 3, first_tile, count, panels, width, first, products, zeros);
            else write_outputs(j, 4, first_tile, count, panels, width, first, products, zeros))

/* Compute a block of so few tiles that the coordinates of each kernel are needed once: those of few
 * channels at a time, which stay in the second cache. */
INLINE void run_part(const struct convolution *j, int rows, int64_t start, int64_t count,
                     int64_t plane, const float *tiles, float *kernels, float *products,
                     const int32_t *small, float *inputs, vector *zeros)
{
    int64_t pieces = pieces_of(j->kernel), some = some_channels(j);
    for (int64_t k = j->first_output; k < j->end_output; k += PANEL) {
        for (int64_t c = 0; c < j->channels; c += some) {
            int64_t end = c + some < j->channels ? c + some : j->channels;
            STEP(write_kernels, rows)(j, k, c, end - c, kernels);
            STEP(write_products, rows)(j, tiles, count, plane, kernels, 1, 0, 1, c * pieces,
                                       end * pieces, products);
        }
        STEP(write_outputs, rows)(j, start, count, 1, 1, k, products, zeros);
    }
    STEP(write_small_outputs, rows)(j, start, count, small, j->first_output, j->end_output, inputs);
}

/* The most tiles of a job with which kernels are needed once. The coordinates of large kernels take
 * far more memory than the tiles'. */
INLINE int64_t part_tiles(const struct convolution *j)
{
    return pieces_of(j->kernel) > 1 ? PART * WIDE : PART;
}

INLINE void run_job(struct convolution *j, int rows, float *scratch)
{
    int64_t depth = depth_of(j), panel_size = panel_step(depth);
    float *tiles = scratch, *kernels = tiles + POINTS * plane_step(depth, j->block);
    float *products = kernels + j->group / PANEL * panel_size;
    float *inputs = products + POINTS * POINT_STEP;
    int32_t *small = (int32_t *)(inputs + j->kernel * j->kernel * j->channels);
    int single = j->end_output - j->first_output <= j->group;
    vector zeros = {0};
    for (int64_t start = j->first_tile; start < j->end_tile; start += j->block) {
        int64_t left = j->end_tile - start, count = left < j->block ? left : j->block;
        int64_t plane = plane_step(depth, count);
        STEP(write_tiles, rows)(j, start, count, plane, tiles, small);
        if (j->end_tile - j->first_tile <= part_tiles(j)) {
            run_part(j, rows, start, count, plane, tiles, kernels, products, small, inputs, &zeros);
            continue;
        }
        for (int64_t first = j->first_output; first < j->end_output; first += j->group) {
            int64_t end = first + j->group < j->end_output ? first + j->group : j->end_output;
            if (!single || start == j->first_tile) write_group(j, rows, first, end, kernels);
            for (int64_t part = 0; part < count; part += PART)
                for (int64_t k = first; k < end; k += WIDE * PANEL) {
                    int64_t some = count - part < PART ? count - part : PART;
                    int64_t panels = (end - k) / PANEL < WIDE ? (end - k) / PANEL : WIDE;
                    STEP(write_products, rows)(j, tiles + part * tile_step(depth), some, plane,
                                               kernels + (k - first) / PANEL * panel_size, panels,
                                               panel_size, WIDE, 0, depth, products);
                    STEP(write_outputs, rows)(j, start + part, some, panels, WIDE, k, products,
                                              &zeros);
                }
        }
        STEP(write_small_outputs, rows)(j, start, count, small, j->first_output, j->end_output,
                                        inputs);
    }
    j->finite = are_zeros(zeros);
}

DEFINE_JOBS_OF(convolution)
DEFINE_FINITE_CALL(winograd, convolution)
