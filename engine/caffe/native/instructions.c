/* Runs a table of instructions on small float32 arrays: one call for all layers of a small net.
 *
 * records.py writes the table; a record names an operation, the addresses of its arrays, and their
 * sizes and strides. The arrays belong to the caller. There is no memory of the library's own, so
 * that any number of threads may run tables of their own at once.
 *
 * The operations round as NumPy's do, and treat NaN and infinity alike. Products and the functions
 * of `exponential` and `logarithm` may contract a product and a sum to one operation of the
 * processor, as BLAS does. The file is plain C for GCC and Clang, without headers of Python.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vectors.h"

/* Bytes of the structures of the library's jobs. */
int64_t caffe_native_winograd_size(void), caffe_native_pointwise_size(void);
int64_t caffe_native_pooling_size(void), caffe_native_lrn_size(void), caffe_native_stem_size(void);
int64_t caffe_native_spread_size(void), caffe_native_inner_size(void);
int64_t caffe_native_gradient_size(void), caffe_native_bottom_gradient_size(void);
int64_t caffe_native_depthwise_size(void), caffe_native_image_size(void);
int64_t caffe_native_bands_size(void);

/* The compiler's caller sets this: a checksum of the C files, by which a stale library is known. */
#ifndef CHECKSUM
#define CHECKSUM 0
#endif
/* Axes of an array. */
#define RANK 6
/* Values of a matrix that stay in the first cache. */
#define SMALL 4096

/* The numbers of records.py's Code. */
enum {
    ADD, SUBTRACT, MULTIPLY, DIVIDE, MAXIMUM, MINIMUM, FMAX, COPY, EXP, LOG, SIGMOID, TANH,
    GATE, WHERE, RECTIFY, SIGMOID_GRADIENT, TANH_GRADIENT, SUM, FILL, PRODUCT, LABELS, TAKE, PUT,
    MAX_POOL, MAX_POOL_GRADIENT, SGD, COUNT
};

/* An operation. Strides count values; an array that is repeated along an axis has stride 0 there.
 *
 * place[0], place[1]: the inputs; place[2]: the output. Other uses stand beside the operations. */
struct record {
    int32_t code, rank;
    int64_t size[RANK];
    char *place[5];
    int64_t stride[3][RANK];
    float scalar[4];
};

/* ---- functions of one value ------------------------------------------------------------------ */

INLINE float from_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE int32_t to_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }

/* exp(x) = 2^k exp(r), |r| <= ln(2) / 2, by the series of exp. 2^k in two factors, since k may lie
 * beyond the exponents of float32. */
INLINE float exponential(float x)
{
    float bounded = x < -110 ? -110 : x > 90 ? 90 : x;
    float rounded = bounded * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to whole numbers */
    int32_t k = to_bits(rounded) - 0x4B400000;
    float integer = rounded - 12582912.0f;
    float r = (bounded - integer * 0.693359375f) + integer * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t half = k >> 1;
    float result = p * from_bits((half + 127) << 23) * from_bits((k - half + 127) << 23);
    return x != x ? x : result;
}

/* log(2^k m) = k ln(2) + 2 artanh((m - 1) / (m + 1)), sqrt(1/2) <= m < sqrt(2), by its series. */
INLINE float logarithm(float x)
{
    float scaled = x < 1.17549435e-38f ? x * 8388608.0f : x;
    int32_t bits = to_bits(scaled) - 0x3F3504F3;
    float k = (float)(bits >> 23) - (x < 1.17549435e-38f ? 23.0f : 0.0f);
    float m = from_bits((bits & 0x7FFFFF) + 0x3F3504F3);
    float f = (m - 1) / (m + 1), s = f * f;
    float p = 2.0f / 9;
    p = p * s + 2.0f / 7;
    p = p * s + 2.0f / 5;
    p = p * s + 2.0f / 3;
    float result = (k * 0.693359375f + f * 2) + (p * s * f - k * 2.12194440e-4f);
    result = x == 0 ? -INFINITY : result;
    return x > 0 || x == 0 ? (x > 3.40282347e38f ? x : result) : NAN;
}

/* The series near 0, where the other form would lose digits. */
INLINE float hyperbolic_tangent(float x)
{
    float s = x * x, size = x < 0 ? -x : x;
    float p = -1382.0f / 155925;
    p = p * s + 62.0f / 2835;
    p = p * s - 17.0f / 315;
    p = p * s + 2.0f / 15;
    p = p * s - 1.0f / 3;
    float large = 1 - 2 / (exponential(2 * size) + 1);
    return size < 0.35f ? x + x * s * p : x < 0 ? -large : large;
}

/* ---- operations value by value --------------------------------------------------------------- */

/* The plane of arrays along their last two axes: where it starts in each array. at: the plane's
 * place along the other axes. */
struct plane { const float *a, *b; float *o; int64_t at[RANK]; };

/* Go to the next plane; return 0 if there is none. */
INLINE int next_plane(struct plane *plane, const struct record *r)
{
    for (int axis = r->rank - 3; axis >= 0; axis--) {
        int64_t step = ++plane->at[axis] < r->size[axis] ? 1 : 1 - r->size[axis];
        plane->a += step * r->stride[0][axis];
        plane->b += step * r->stride[1][axis];
        plane->o += step * r->stride[2][axis];
        if (step == 1) return 1;
        plane->at[axis] = 0;
    }
    return 0;
}

/* The arrays are the same or apart, so that the loops over neighbouring values are independent. */
#define EACH_ROW(...) \
    { \
        struct plane plane = {(const float *)r->place[0], (const float *)r->place[1], \
                              (float *)r->place[2], {0}}; \
        int last = r->rank - 1, above = last > 0 ? last - 1 : RANK - 1; \
        int64_t n = r->size[last], rows = last > 0 ? r->size[above] : 1; \
        int64_t sa = r->stride[0][last], sb = r->stride[1][last], so = r->stride[2][last]; \
        do { \
            const float *a = plane.a, *b = plane.b; \
            float *o = plane.o; \
            for (int64_t row = 0; row < rows; row++) { \
                (void)sa, (void)sb; \
                __VA_ARGS__ \
                a += r->stride[0][above], b += r->stride[1][above], o += r->stride[2][above]; \
            } \
        } while (next_plane(&plane, r)); \
        break; \
    }

/* For each place, write the value of an expression of x from a and y from b. */
#define EACH(EXPRESSION) \
    EACH_ROW( \
        if (sa == 1 && so == 1 && sb == 1) { \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { float x = a[i], y = b[i]; o[i] = EXPRESSION; } \
        } else if (sa == 1 && so == 1 && sb == 0) { \
            float y = *b; \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { float x = a[i]; o[i] = EXPRESSION; } \
        } else { \
            for (int64_t i = 0; i < n; i++) { float x = a[i * sa], y = b[i * sb]; o[i * so] = EXPRESSION; } \
        })

/* The same for an expression of x alone. */
#define EACH_ALONE(EXPRESSION) \
    EACH_ROW( \
        if (sa == 1 && so == 1) { \
            INDEPENDENT for (int64_t i = 0; i < n; i++) { float x = a[i]; o[i] = EXPRESSION; } \
        } else { \
            for (int64_t i = 0; i < n; i++) { float x = a[i * sa]; o[i * so] = EXPRESSION; } \
        })

typedef float quarter_vector __attribute__((vector_size(PANEL), may_alias));

INLINE float sum_of_lanes(vector v)
{
    half_vector half = ((half_vector *)&v)[0] + ((half_vector *)&v)[1];
    quarter_vector part = ((quarter_vector *)&half)[0] + ((quarter_vector *)&half)[1];
    return (part[0] + part[1]) + (part[2] + part[3]);
}

INLINE float sum_of_row(const float *a, int64_t n, int64_t step)
{
    vector lanes = {0};
    float rest = 0;
    int64_t i = 0;
    if (step == 1)
        for (; i + PANEL <= n; i += PANEL) lanes += *(const vector *)(a + i);
    for (; i < n; i++) rest += a[i * step];
    return sum_of_lanes(lanes) + rest;
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float two __attribute__((vector_size(8), aligned(4), may_alias));

/* Copy up to PANEL values: the first and the last ones, which may overlap. */
INLINE void copy_columns(float *o, const float *a, int64_t columns)
{
#define ENDS(TYPE) { \
        int64_t rest = columns - (int64_t)(sizeof(TYPE) / 4); \
        TYPE first = *(const TYPE *)a, last = *(const TYPE *)(a + rest); \
        *(TYPE *)o = first, *(TYPE *)(o + rest) = last; \
    }
    if (columns == PANEL) memcpy(o, a, 4 * PANEL);
    else if (columns >= 8) ENDS(half_vector)
    else if (columns >= 4) ENDS(four)
    else if (columns >= 2) ENDS(two)
    else if (columns) *o = *a;
#undef ENDS
}

INLINE void copy_row(float *o, const float *a, int64_t n)
{
    /* A call of memcpy takes longer than a row of a small map. */
    if (n <= PANEL) { copy_columns(o, a, n); return; }
    if (n >= 64) { memmove(o, a, 4 * n); return; }
    INDEPENDENT for (int64_t i = 0; i < n; i++) o[i] = a[i];
}

/* The larger of two values, where NaN is less than any value. */
INLINE void larger_values(float *o, const float *a, const float *b, int64_t n)
{
    INDEPENDENT for (int64_t i = 0; i < n; i++) o[i] = a[i] >= b[i] || b[i] != b[i] ? a[i] : b[i];
}

/* The same for one value b. */
INLINE void larger_than(float *o, const float *a, float b, int64_t n)
{
    INDEPENDENT for (int64_t i = 0; i < n; i++) o[i] = a[i] >= b || b != b ? a[i] : b;
}

/* The same for pairs of neighbours in a row of 2 * n values. */
INLINE void larger_of_pairs(float *o, const float *a, int64_t n)
{
    int64_t i = 0;
    for (; i + PANEL <= n; i += PANEL) {
        vector first = *(const vector *)(a + 2 * i), second = *(const vector *)(a + 2 * i + PANEL);
        vector x = PICK(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        vector y = PICK(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        larger_values(o + i, (const float *)&x, (const float *)&y, PANEL);
    }
    for (; i < n; i++) {
        float x = a[2 * i], y = a[2 * i + 1];
        o[i] = x >= y || y != y ? x : y;
    }
}

/* Add the rows of a matrix to `o`, one after the other. */
INLINE void add_rows(float *o, const float *a, int64_t rows, int64_t n, int64_t step)
{
    for (int64_t j = 0; j < n; j += PANEL) {
        int64_t columns = n - j < PANEL ? n - j : PANEL;
        vector sum = {0};
        copy_columns((float *)&sum, o + j, columns);
        for (int64_t i = 0; i < rows; i++) {
            vector values = {0};
            const float *row = a + i * step + j;
            /* Behind a row lies another one. */
            if (i + 1 < rows && step >= PANEL - columns) values = *(const vector *)row;
            else copy_columns((float *)&values, row, columns);
            sum += values;
        }
        copy_columns(o + j, (const float *)&sum, columns);
    }
}

/* ---- products of matrices -------------------------------------------------------------------- */


/* What follows a product, value by value: a bias is added, then negative values become 0 or get the
 * factor of a slope. Where a stride of columns is 0, a row has one bias or slope. */
enum { AS_IS, RECTIFIED, SLOPED };
struct ending {
    const float *bias, *slope;
    int64_t bias_row, bias_column, slope_row, slope_column, kind;
};

INLINE struct ending ending_of(const struct record *r)
{
    const int64_t *s = r->stride[2];
    struct ending e = {(const float *)r->place[3], (const float *)r->place[4],
                       s[2], s[3], s[4], s[5], r->size[3]};
    return e;
}

/* NaN is neither above nor below 0. */
INLINE float sloped(float x, float slope) { return (x < 0 ? 0 : x) + slope * (x > 0 ? 0 : x); }

INLINE float ended(const struct ending *e, float x, int64_t i, int64_t j)
{
    if (e->bias) x += e->bias[i * e->bias_row + j * e->bias_column];
    if (e->kind == RECTIFIED) x = x < 0 ? 0 : x;
    if (e->kind == SLOPED) x = sloped(x, e->slope[i * e->slope_row + j * e->slope_column]);
    return x;
}

/* The same for PANEL values of row i, with the biases and slopes of these columns, or of the row. */
INLINE void end_row(const struct ending *e, float *x, int64_t i, const float *biases,
                    const float *slopes)
{
#define ALL(EXPRESSION) INDEPENDENT for (int c = 0; c < PANEL; c++) x[c] = EXPRESSION;
    if (e->bias) {
        float bias = e->bias[i * e->bias_row];
        if (e->bias_column) { ALL(x[c] + biases[c]) } else { ALL(x[c] + bias) }
    }
    if (e->kind == RECTIFIED) { ALL(x[c] < 0 ? 0 : x[c]) }
    if (e->kind == SLOPED) {
        float slope = e->slope[i * e->slope_row];
        if (e->slope_column) { ALL(sloped(x[c], slopes[c])) } else { ALL(sloped(x[c], slope)) }
    }
#undef ALL
}

/* A panel of a product: up to PANEL columns, the matrices' places and strides, and what follows. b: k
 * rows of PANEL values. */
struct panel {
    const float *a, *b;
    float *o;
    int64_t k, columns, a_row, a_column, b_row, o_row;
    struct ending ending;
    vector biases, slopes;
};

/* Rows i .. i + rows of a panel of a product. */
INLINE void product_block(int rows, int halves, const struct panel *p, int64_t i)
{
    vector sum[ROWS / 2];
    UNROLL for (int row = 0; row < rows; row++) sum[row] = (vector){0};
    add_products(rows, halves, p->k, p->a + i * p->a_row, p->a_row, p->a_column, p->b, p->b_row, sum);
    const float *biases = (const float *)&p->biases, *slopes = (const float *)&p->slopes;
    int ends = p->ending.bias || p->ending.kind;
    if (ends)
        for (int row = 0; row < rows; row++)
            end_row(&p->ending, (float *)&sum[row], i + row, biases, slopes);
    float *o = p->o + i * p->o_row;
    UNROLL for (int row = 0; row < rows; row++)
        copy_columns(o + row * p->o_row, (const float *)&sum[row], p->columns);
}

/* Copy a panel of a matrix with k rows to `scratch`, with zeros behind its columns. */
INLINE void pack(float *scratch, const float *b, int64_t b_row, int64_t b_column, int64_t k,
                 int64_t columns)
{
    for (int64_t p = 0; p < k; p++, scratch += PANEL, b += b_row) {
        /* Behind a row lies another one; what is read of it is not used. */
        if (b_column == 1 && p + 1 < k && b_row >= PANEL - columns) {
            memcpy(scratch, b, 4 * PANEL);
            continue;
        }
        if (columns < PANEL) memset(scratch, 0, 4 * PANEL);
        if (b_column == 1) copy_columns(scratch, b, columns);
        else for (int64_t c = 0; c < columns; c++) scratch[c] = b[c * b_column];
    }
}

/* The product by panels of columns and 6 rows at a time. A panel that does not lie in memory as
 * rows of PANEL values goes into `scratch`. A small second matrix is read for each 6 rows, so that
 * the output is written in its order; else each panel is read for all rows. */
INLINE void product_by_panels(const struct record *r, int halves, float *scratch)
{
    int64_t m = r->size[0], n = r->size[1], k = r->size[2];
    int64_t a_row = r->stride[0][0], a_column = r->stride[0][1];
    int64_t b_row = r->stride[1][0], b_column = r->stride[1][1], o_row = r->stride[2][0];
    const float *b = (const float *)r->place[1];
    float *o = (float *)r->place[2];
    struct panel part = {(const float *)r->place[0], b, o, k, PANEL, a_row, a_column, b_row, o_row,
                         ending_of(r), {0}, {0}};
    int64_t wide = k * n <= SMALL ? n : PANEL, tall = k * n <= SMALL ? 6 : m;
    for (int64_t start = 0; start < n; start += wide)
        for (int64_t top = 0; top < m; top += tall)
            for (int64_t j = start; j < n && j < start + wide; j += PANEL) {
                int64_t columns = n - j < PANEL ? n - j : PANEL;
                part.b = b + j * b_column, part.o = o + j, part.columns = columns;
                if (columns < PANEL || b_column != 1) {
                    float *place = scratch + (j - start) * k;
                    if (top == 0) pack(place, part.b, b_row, b_column, k, columns);
                    part.b = place, part.b_row = PANEL;
                } else part.b_row = b_row;
                if (part.ending.bias_column)
                    copy_columns((float *)&part.biases, part.ending.bias + j, columns);
                if (part.ending.slope_column)
                    copy_columns((float *)&part.slopes, part.ending.slope + j, columns);
                int64_t end = m - top < tall ? m : top + tall, i = top;
#define CASE(N) product_block(N, halves, &part, i)
                for (; i + ROWS / 2 <= end; i += ROWS / 2) CASE(ROWS / 2);
                EACH_NUMBER_OF_ROWS(end - i, ROWS / 2, CASE)
#undef CASE
            }
}

/* The products of `rows` rows of a with `columns` columns of b, all of k values in a row. o: where
 * the output of row i and column j is. */
INLINE void dot_block(int rows, int columns, int64_t k, const float *a, int64_t a_row,
                      const float *b, int64_t b_column, float *o, int64_t o_row,
                      const struct ending *e, int64_t top, int64_t left)
{
    vector sum[8];
    float rest[8] = {0};
    int64_t p = 0;
    UNROLL for (int i = 0; i < rows * columns; i++) sum[i] = (vector){0};
    for (; p + PANEL <= k; p += PANEL)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < columns; j++)
                sum[i * columns + j] +=
                    *(const vector *)(a + i * a_row + p) * *(const vector *)(b + j * b_column + p);
    for (; p < k; p++)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < columns; j++)
                rest[i * columns + j] += a[i * a_row + p] * b[j * b_column + p];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < columns; j++)
            o[i * o_row + j] = ended(e, sum_of_lanes(sum[i * columns + j]) + rest[i * columns + j],
                                     top + i, left + j);
}

INLINE void product_by_dots(const struct record *r)
{
    int64_t m = r->size[0], n = r->size[1], k = r->size[2], i = 0, j;
    int64_t a_row = r->stride[0][0], b_column = r->stride[1][1], o_row = r->stride[2][0];
    const float *a = (const float *)r->place[0], *b = (const float *)r->place[1];
    float *o = (float *)r->place[2];
    struct ending e = ending_of(r);
#define DOTS(ROWS, COLUMNS) dot_block(ROWS, COLUMNS, k, a + i * a_row, a_row, b + j * b_column, \
                                      b_column, o + i * o_row + j, o_row, &e, i, j)
    for (; i + 2 <= m; i += 2) {
        for (j = 0; j + 4 <= n; j += 4) DOTS(2, 4);
        for (; j < n; j++) DOTS(2, 1);
    }
    if (i < m) {
        for (j = 0; j + 4 <= n; j += 4) DOTS(1, 4);
        for (; j < n; j++) DOTS(1, 1);
    }
}

/* size: m, n, k, and the kind of ending. stride: of rows and columns; behind those of the output, of
 * the bias at place[3] and the slope at place[4]. The output's columns lie one behind the other. */
INLINE void product(const struct record *r, int halves, float *scratch)
{
    int in_a_row = r->stride[0][1] == 1 && r->stride[1][0] == 1;
    if (in_a_row && (r->size[2] >= 32 * PANEL || r->size[0] <= 3 || r->size[1] == 1))
        product_by_dots(r);
    else
        product_by_panels(r, halves, scratch);
}

/* ---- labels, places, pooling, updates -------------------------------------------------------- */

/* size[0]: labels at place[0]. scalar[0]: classes. Writes int64 label * size[0] + position.
 * Returns 0 for a label that is no class. */
INLINE int labels(const struct record *r)
{
    const float *label = (const float *)r->place[0];
    int64_t *o = (int64_t *)r->place[2], n = r->size[0];
    for (int64_t i = 0; i < n; i++) {
        float x = label[i];
        if (!(x > -1 && x < r->scalar[0])) return 0;
        o[i] = (int64_t)x * n + i;
    }
    return 1;
}

/* size: planes, height and width of the bottom, height and width of the top. stride[0]: kernel,
 * stride and padding, vertical before horizontal. place[0]: the bottom; place[2]: the top;
 * place[3]: int64, the place in its plane of each maximum. NaN is less than any value, and no
 * maximum is less than -FLT_MAX. */
INLINE void max_pool(const struct record *r)
{
    int64_t h = r->size[1], w = r->size[2], oh = r->size[3], ow = r->size[4];
    int64_t kh = r->stride[0][0], kw = r->stride[0][1], sh = r->stride[0][2], sw = r->stride[0][3];
    int64_t top = r->stride[0][4], left = r->stride[0][5];
    const float *x = (const float *)r->place[0];
    float *y = (float *)r->place[2];
    int64_t *place = (int64_t *)r->place[3];
    for (int64_t plane = 0; plane < r->size[0]; plane++, x += h * w) {
        for (int64_t i = 0; i < oh; i++, y += ow, place += ow) {
            int64_t first = i * sh - top, end = first + kh < h ? first + kh : h;
            if (first < 0) first = 0;
            for (int64_t j = 0; j < ow; j++) {
                int64_t start = j * sw - left;
                y[j] = -3.40282347e38f, place[j] = first * w + (start < 0 ? 0 : start);
            }
            for (int64_t row = first; row < end; row++)
                for (int64_t c = 0; c < kw; c++) {
                    /* The tops j whose window has column j * sw - left + c on the map. */
                    int64_t from = left > c ? (left - c + sw - 1) / sw : 0;
                    int64_t to = w + left - c > 0 ? (w - 1 + left - c) / sw + 1 : 0;
                    int64_t start = row * w - left + c;
                    if (to > ow) to = ow;
                    INDEPENDENT for (int64_t j = from; j < to; j++) {
                        float v = x[start + j * sw];
                        int larger = v > y[j];
                        y[j] = larger ? v : y[j];
                        place[j] = larger ? start + j * sw : place[j];
                    }
                }
        }
    }
}

/* size: planes, values of a plane of the bottom, values of a plane of the top. place[0]: the top's
 * gradient; place[2]: the bottom's; place[3]: as in `max_pool`. */
INLINE void max_pool_gradient(const struct record *r)
{
    const float *dy = (const float *)r->place[0];
    float *dx = (float *)r->place[2];
    const int64_t *place = (const int64_t *)r->place[3];
    int64_t in = r->size[1], out = r->size[2];
    memset(dx, 0, 4 * r->size[0] * in);
    for (int64_t plane = 0; plane < r->size[0]; plane++, dx += in, dy += out, place += out)
        for (int64_t i = 0; i < out; i++) dx[place[i]] += dy[i];
}

/* size[0]: values. place: the gradient, the history, the weights, and the learning rate.
 * scalar: momentum, factor of the rate, decay.
 *
 * The loops are apart so that no product and sum are contracted: the update has the bits of
 * NumPy's, since a training's start may turn a rounding into another result. */
INLINE void sgd(const struct record *r)
{
    float momentum = r->scalar[0], rate = *(const float *)r->place[3] * r->scalar[1];
    float decay = r->scalar[2], penalty[256];
    for (int64_t start = 0; start < r->size[0]; start += 256) {
        float *g = (float *)r->place[0] + start, *v = (float *)r->place[1] + start;
        float *w = (float *)r->place[2] + start;
        int64_t n = r->size[0] - start < 256 ? r->size[0] - start : 256;
        if (decay != 0) {
            INDEPENDENT for (int64_t i = 0; i < n; i++) penalty[i] = w[i] * decay;
            INDEPENDENT for (int64_t i = 0; i < n; i++) g[i] += penalty[i];
        }
        INDEPENDENT for (int64_t i = 0; i < n; i++) { g[i] *= rate; v[i] *= momentum; }
        INDEPENDENT for (int64_t i = 0; i < n; i++) { v[i] += g[i]; g[i] = v[i]; w[i] -= v[i]; }
    }
}

/* ---- the table ------------------------------------------------------------------------------- */

INLINE int run_record(const struct record *r, int halves, float *scratch)
{
    switch (r->code) {
    case ADD: EACH(x + y)
    case SUBTRACT: EACH(x - y)
    case MULTIPLY: EACH(x * y)
    case DIVIDE: EACH(x / y)
    case MAXIMUM: EACH(x >= y || x != x ? x : y)
    case MINIMUM: EACH(x <= y || x != x ? x : y)
    case FMAX:
        EACH_ROW(
            if (sa == 1 && so == 1 && sb == 1) larger_values(o, a, b, n);
            else if (sa == 1 && so == 1 && sb == 0) larger_than(o, a, *b, n);
            else if (sa == 2 && sb == 2 && so == 1 && b == a + 1) larger_of_pairs(o, a, n);
            else for (int64_t i = 0; i < n; i++) {
                float x = a[i * sa], y = b[i * sb];
                o[i * so] = x >= y || y != y ? x : y;
            })
    case GATE: EACH(x * (y > 0 ? 1.0f : 0.0f))
    case RECTIFY: EACH((x >= 0 || x != x ? x : 0) + y * (x <= 0 || x != x ? x : 0))
    case SIGMOID_GRADIENT: EACH(x * (1 - y) * y)
    case TANH_GRADIENT: EACH(x * (1 - y * y))
    case EXP: EACH_ALONE(exponential(x))
    case LOG: EACH_ALONE(logarithm(x))
    case SIGMOID: EACH_ALONE(1 / (1 + exponential(-x)))
    case TANH: EACH_ALONE(hyperbolic_tangent(x))
    case COPY:
        EACH_ROW(
            if (sa == 1 && so == 1) copy_row(o, a, n);
            else for (int64_t i = 0; i < n; i++) o[i * so] = a[i * sa];)
    case WHERE: /* a where b is positive; elsewhere the output stays */
        EACH_ROW(for (int64_t i = 0; i < n; i++) if (b[i * sb] > 0) o[i * so] = a[i * sa];)
    case SUM: /* adds to the output, which has stride 0 along the axes that are added up */
        if (r->rank == 2 && !r->stride[2][0] && r->stride[2][1] == 1 && r->stride[0][1] == 1 &&
            r->size[1] >= PANEL / 2) {
            add_rows((float *)r->place[2], (const float *)r->place[0], r->size[0], r->size[1],
                     r->stride[0][0]);
            break;
        }
        EACH_ROW(
            if (so == 0) *o += sum_of_row(a, n, sa);
            else if (so == 1 && sa == 1) { INDEPENDENT for (int64_t i = 0; i < n; i++) o[i] += a[i]; }
            else for (int64_t i = 0; i < n; i++) o[i * so] += a[i * sa];)
    case FILL:
        EACH_ROW(for (int64_t i = 0; i < n; i++) o[i * so] = r->scalar[0];)
    case PRODUCT: product(r, halves, scratch); break;
    case LABELS: return labels(r);
    case TAKE: /* values of a at the places at place[1] */
        for (int64_t i = 0; i < r->size[0]; i++)
            ((float *)r->place[2])[i] = ((float *)r->place[0])[((int64_t *)r->place[1])[i]];
        break;
    case PUT: /* values of a to the places at place[1] */
        for (int64_t i = 0; i < r->size[0]; i++)
            ((float *)r->place[2])[((int64_t *)r->place[1])[i]] = ((float *)r->place[0])[i];
        break;
    case MAX_POOL: max_pool(r); break;
    case MAX_POOL_GRADIENT: max_pool_gradient(r); break;
    case SGD: sgd(r); break;
    case COUNT: ++*(int64_t *)r->place[2]; break;
    default: return 0;
    }
    return 1;
}

INLINE int64_t run_all(const struct record *records, int64_t count, int halves, float *scratch)
{
    for (int64_t i = 0; i < count; i++)
        if (!run_record(records + i, halves, scratch)) return i;
    return count;
}

static int64_t run_plain(const struct record *records, int64_t count, float *scratch)
{
    return run_all(records, count, 1, scratch);
}

AVX2 static int64_t run_avx2(const struct record *records, int64_t count, float *scratch)
{
    return run_all(records, count, 1, scratch);
}

AVX512 static int64_t run_avx512(const struct record *records, int64_t count, float *scratch)
{
    return run_all(records, count, 0, scratch);
}

uint32_t caffe_native_checksum(void) { return CHECKSUM; }

/* The bytes of the structures that library.py names in STRUCTURES. */
int64_t caffe_native_sizes(int64_t which)
{
    int64_t sizes[] = {sizeof(struct record), caffe_native_winograd_size(),
                       caffe_native_pointwise_size(), caffe_native_pooling_size(),
                       sizeof(struct call), caffe_native_lrn_size(),
                       caffe_native_stem_size(), caffe_native_spread_size(),
                       caffe_native_inner_size(), caffe_native_gradient_size(),
                       caffe_native_bottom_gradient_size(), caffe_native_depthwise_size(),
                       caffe_native_image_size(), caffe_native_bands_size()};
    return sizes[which];
}

/* Whether this processor has vectors for which the convolutions are written. */
int32_t caffe_native_convolves(void) { return processor_vectors() > 0; }

/* Run `count` records; return how many have run before one that refuses its values, or `count`.
 * scratch: PANEL values for each row of the longest product's second matrix. */
int64_t caffe_native_run(const struct record *records, int64_t count, float *scratch)
{
    if (processor_vectors() == 2) return run_avx512(records, count, scratch);
    if (processor_vectors() == 1) return run_avx2(records, count, scratch);
    return run_plain(records, count, scratch);
}
