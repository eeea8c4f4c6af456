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

int64_t caffe_native_convolution_size(void), caffe_native_pointwise_size(void);

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
    char *place[4];
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
    float whole = rounded - 12582912.0f;
    float r = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
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

/* A row of arrays along their last axis: where it starts in each array, the number of its values,
 * and the arrays' strides. at: the row's place along the other axes. */
struct row {
    const float *a, *b;
    float *o;
    int64_t n, sa, sb, so, at[RANK];
};

INLINE struct row first_row(const struct record *r)
{
    int last = r->rank - 1;
    struct row row = {(const float *)r->place[0], (const float *)r->place[1], (float *)r->place[2],
                      r->size[last], r->stride[0][last], r->stride[1][last], r->stride[2][last], {0}};
    return row;
}

/* Go to the next row; return 0 if there is none. */
INLINE int next_row(struct row *row, const struct record *r)
{
    for (int axis = r->rank - 2; axis >= 0; axis--) {
        int64_t step = ++row->at[axis] < r->size[axis] ? 1 : 1 - r->size[axis];
        row->a += step * r->stride[0][axis];
        row->b += step * r->stride[1][axis];
        row->o += step * r->stride[2][axis];
        if (step == 1 && row->at[axis] < r->size[axis]) return 1;
        row->at[axis] = 0;
    }
    return 0;
}

/* The arrays are the same or apart, so that the loops over neighbouring values are independent. */
#define EACH_ROW(...) \
    { \
        struct row row = first_row(r); \
        do { \
            const float *a = row.a, *b = row.b; \
            float *o = row.o; \
            int64_t n = row.n, sa = row.sa, sb = row.sb, so = row.so; \
            (void)a, (void)b, (void)sa, (void)sb; \
            __VA_ARGS__ \
        } while (next_row(&row, r)); \
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

INLINE void copy_row(float *o, const float *a, int64_t n)
{
    /* A call of memcpy takes longer than a row of a small map. */
    if (n >= 64) { memmove(o, a, 4 * n); return; }
    INDEPENDENT for (int64_t i = 0; i < n; i++) o[i] = a[i];
}

/* ---- products of matrices -------------------------------------------------------------------- */

/* Copy up to PANEL values in pieces of powers of two, which are a register each. */
INLINE void copy_columns(float *o, const float *a, int64_t columns)
{
    if (columns == PANEL) { memcpy(o, a, 4 * PANEL); return; }
    if (columns & 8) memcpy(o, a, 32), o += 8, a += 8;
    if (columns & 4) memcpy(o, a, 16), o += 4, a += 4;
    if (columns & 2) memcpy(o, a, 8), o += 2, a += 2;
    if (columns & 1) *o = *a;
}

/* `rows` rows of a product and up to PANEL columns. b: k rows of PANEL values, `step` apart. */
INLINE void product_block(int rows, int halves, int64_t k, int64_t columns, const float *a,
                          int64_t a_row, int64_t a_column, const float *b, int64_t step, float *o,
                          int64_t o_row)
{
    vector sum[ROWS / 2];
    UNROLL for (int i = 0; i < rows; i++) sum[i] = (vector){0};
    add_products(rows, halves, k, a, a_row, a_column, b, step, sum);
    UNROLL for (int i = 0; i < rows; i++) copy_columns(o + i * o_row, (const float *)&sum[i], columns);
}

/* Copy a panel of a matrix with k rows to `scratch`, with zeros behind its columns. */
INLINE void pack(float *scratch, const float *b, int64_t b_row, int64_t b_column, int64_t k,
                 int64_t columns)
{
    for (int64_t p = 0; p < k; p++, scratch += PANEL, b += b_row) {
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
    const float *a = (const float *)r->place[0], *b = (const float *)r->place[1];
    float *o = (float *)r->place[2];
    int64_t wide = k * n <= SMALL ? n : PANEL, tall = k * n <= SMALL ? 6 : m;
    for (int64_t start = 0; start < n; start += wide)
        for (int64_t top = 0; top < m; top += tall)
            for (int64_t j = start; j < n && j < start + wide; j += PANEL) {
                int64_t columns = n - j < PANEL ? n - j : PANEL, step = b_row;
                const float *panel = b + j * b_column;
                if (columns < PANEL || b_column != 1) {
                    float *place = scratch + (j - start) * k;
                    if (top == 0) pack(place, panel, b_row, b_column, k, columns);
                    panel = place, step = PANEL;
                }
                int64_t end = m - top < tall ? m : top + tall, i = top;
#define CASE(N) product_block(N, halves, k, columns, a + i * a_row, a_row, a_column, panel, step, \
                              o + i * o_row + j, o_row)
                for (; i + ROWS / 2 <= end; i += ROWS / 2) CASE(ROWS / 2);
                EACH_NUMBER_OF_ROWS(end - i, ROWS / 2, CASE)
#undef CASE
            }
}

/* The products of `rows` rows of a with `columns` columns of b, all of k values in a row. */
INLINE void dot_block(int rows, int columns, int64_t k, const float *a, int64_t a_row,
                      const float *b, int64_t b_column, float *o, int64_t o_row)
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
            o[i * o_row + j] = sum_of_lanes(sum[i * columns + j]) + rest[i * columns + j];
}

INLINE void product_by_dots(const struct record *r)
{
    int64_t m = r->size[0], n = r->size[1], k = r->size[2], i = 0, j;
    int64_t a_row = r->stride[0][0], b_column = r->stride[1][1], o_row = r->stride[2][0];
    const float *a = (const float *)r->place[0], *b = (const float *)r->place[1];
    float *o = (float *)r->place[2];
#define DOTS(ROWS, COLUMNS) dot_block(ROWS, COLUMNS, k, a + i * a_row, a_row, b + j * b_column, \
                                      b_column, o + i * o_row + j, o_row)
    for (; i + 2 <= m; i += 2) {
        for (j = 0; j + 4 <= n; j += 4) DOTS(2, 4);
        for (; j < n; j++) DOTS(2, 1);
    }
    if (i < m) {
        for (j = 0; j + 4 <= n; j += 4) DOTS(1, 4);
        for (; j < n; j++) DOTS(1, 1);
    }
}

/* size: m, n, k. stride: of rows and columns. The output's columns lie one behind the other. */
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
    case FMAX: EACH(x >= y || y != y ? x : y)
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

/* The bytes of a record (0), of a job of a 3 x 3 (1) and of a 1 x 1 convolution (2), and of a call of
 * jobs (3). */
int64_t caffe_native_sizes(int64_t which)
{
    int64_t sizes[] = {sizeof(struct record), caffe_native_convolution_size(),
                       caffe_native_pointwise_size(), sizeof(struct call)};
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
