/* What the files of this library share: vectors, products, the processors' vectors, and threads. */
#pragma once

#include <stdint.h>
#include <string.h>

/* Values of a vector, and columns that a product computes at a time. */
#define PANEL 16

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vector __attribute__((vector_size(4 * PANEL), aligned(4), may_alias));
typedef float half_vector __attribute__((vector_size(2 * PANEL), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(4 * PANEL)));
typedef int32_t half_mask __attribute__((vector_size(2 * PANEL)));
typedef uint32_t word_vector __attribute__((vector_size(4 * PANEL)));
typedef uint16_t low_vector __attribute__((vector_size(2 * PANEL), aligned(2), may_alias));

/* A vector of the values of two others with these numbers, those of b counted from PANEL on. */
#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* Exchange the second half of each piece of 2 * size values in a row with the first half of that in
 * the row `size` further down. The numbers are those that the first row keeps and gets. */
#define SWAP_HALVES(rows, size, ...) \
    UNROLL for (int i = 0; i < PANEL; i++) { \
        if (i & size) continue; \
        vector a = rows[i], b = rows[i + size]; \
        rows[i] = PICK(a, b, __VA_ARGS__); \
        rows[i + size] = PICK(a, b, SECOND(size, __VA_ARGS__)); \
    }
#define SECOND(size, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    a + size, b + size, c + size, d + size, e + size, f + size, g + size, h + size, i + size, \
    j + size, k + size, l + size, m + size, n + size, o + size, p + size

/* Rows of a product that are computed at a time with AVX-512, and half as many with fewer registers.
 * Each row has a register, or two, for the sums of PANEL columns. */
#define ROWS 12

/* Rows of b that are fetched ahead: pieces of b are too short for the processor to do so by itself. */
#define AHEAD 24

/* Add up products of `rows` rows of a with n rows of PANEL values of b, b_row apart. halves: for
 * processors whose vectors have half of the values; compilers handle whole ones badly there. */
INLINE void add_products(int rows, int halves, int64_t n, const float *a, int64_t a_row,
                         int64_t a_column, const float *b, int64_t b_row, vector *sum)
{
    if (halves) {
        half_vector low[ROWS], high[ROWS];
        UNROLL for (int i = 0; i < rows; i++) {
            low[i] = ((half_vector *)&sum[i])[0];
            high[i] = ((half_vector *)&sum[i])[1];
        }
        for (int64_t c = 0; c < n; c++) {
            half_vector first = ((const half_vector *)(b + c * b_row))[0];
            half_vector second = ((const half_vector *)(b + c * b_row))[1];
            __builtin_prefetch(b + (c + AHEAD) * b_row);
            UNROLL for (int i = 0; i < rows; i++) {
                float factor = a[i * a_row + c * a_column];
                low[i] += factor * first;
                high[i] += factor * second;
            }
        }
        UNROLL for (int i = 0; i < rows; i++) {
            ((half_vector *)&sum[i])[0] = low[i];
            ((half_vector *)&sum[i])[1] = high[i];
        }
        return;
    }
    for (int64_t c = 0; c < n; c++) {
        vector values = *(const vector *)(b + c * b_row);
        __builtin_prefetch(b + (c + AHEAD) * b_row);
        UNROLL for (int i = 0; i < rows; i++) sum[i] += a[i * a_row + c * a_column] * values;
    }
}

/* Return the end of the rows from i on that are computed together, of `count` in all: as few pieces
 * of `most` rows as possible, all of nearly the same size. */
static inline int64_t next_rows(int64_t i, int64_t count, int64_t most)
{
    int64_t pieces = (count - i + most - 1) / most;
    return i + (count - i + pieces - 1) / pieces;
}

/* Run CASE(N) with the number of rows as a constant. */
#define EACH_NUMBER_OF_ROWS(rows, most, CASE) \
    switch (rows) { \
    case 1: CASE(1); break; case 2: CASE(2); break; case 3: CASE(3); break; \
    case 4: CASE(4); break; case 5: CASE(5); break; case 6: CASE(6); break; \
    default: \
        if (most > 6) switch (rows) { \
        case 7: CASE(7); break; case 8: CASE(8); break; case 9: CASE(9); break; \
        case 10: CASE(10); break; case 11: CASE(11); break; case 12: CASE(12); break; \
        } \
    }

/* Return the values with negative ones times `slope`. NaN stays NaN. */
INLINE vector rectified(vector value, float slope)
{
    mask positive = value > 0;
    return (vector)((mask)value & positive) + slope * (vector)((mask)value & ~positive);
}

/* Return the values with zeros for negative ones, -infinity too. NaN stays NaN. */
INLINE vector positive_part(vector value) { return (vector)((mask)value & ~(value < 0)); }

/* Return the address of value number i of an array of float32 or, if low, bfloat16. */
INLINE const void *address(const void *values, int64_t i, int low)
{
    return (const char *)values + (low ? 2 : 4) * i;
}

/* Return PANEL values from number i on. */
INLINE vector load(const void *values, int64_t i, int low)
{
    if (!low) return *(const vector *)address(values, i, 0);
    low_vector upper = *(const low_vector *)address(values, i, 1);
    return (vector)(__builtin_convertvector(upper, word_vector) << 16);
}

/* Write PANEL values likewise, as bfloat16 rounded to the nearest, ties to even. NaN stays NaN. */
INLINE void store(void *values, int64_t i, vector value, int low)
{
    if (!low) {
        *(vector *)((float *)values + i) = value;
        return;
    }
    word_vector bits = (word_vector)value, numbers = (word_vector)(value == value);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & numbers;
    bits |= 0x7fc00000 & ~numbers;
    *(low_vector *)((uint16_t *)values + i) = __builtin_convertvector(bits >> 16, low_vector);
}

/* Return `count` values, followed by zeros. */
INLINE vector load_some(const float *values, int64_t count)
{
    if (count == PANEL) return *(const vector *)values;
    vector result = {0};
    memcpy(&result, values, 4 * count);
    return result;
}

INLINE void store_some(float *values, vector value, int64_t count)
{
    if (count == PANEL) *(vector *)values = value;
    else if (count == PANEL / 2) *(half_vector *)values = *(half_vector *)&value;
    else memcpy(values, &value, 4 * count);
}

/* Write `count` sums of each of some rows, which are `row` apart, plus other, after a ReLU with this
 * slope. Each case has a loop: to decide for each row takes as long as the products of short sums. Rows
 * that are decided for one by one are read from memory, so that their code is not there once a row. */
INLINE void finish_rows(int rows, const vector *sum, int64_t count, int64_t row, const float *other,
                        float slope, float *y)
{
    if (count == PANEL && !other && slope == 1) {
        UNROLL for (int i = 0; i < rows; i++) *(vector *)(y + i * row) = sum[i];
    } else if (count == PANEL && !other && slope == 0) {
        UNROLL for (int i = 0; i < rows; i++) {
            *(vector *)(y + i * row) = positive_part(sum[i]);
        }
    } else {
        vector values[ROWS];
        UNROLL for (int i = 0; i < rows; i++) values[i] = sum[i];
        for (int i = 0; i < rows; i++) {
            vector value = values[i];
            if (other) value += load_some(other + i * row, count);
            if (slope == 0) value = positive_part(value);
            else if (slope != 1) value = rectified(value, slope);
            store_some(y + i * row, value, count);
        }
    }
}

/* The same code is compiled for processors with wider vectors. The processor is looked at when the
 * code runs, so that a library that was built on another machine runs here. */
#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma,bmi2")))
#define AVX512 __attribute__((target("avx2,fma,bmi2,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")))

/* A test that compiles the library may leave out AVX-512. */
#ifndef WIDEST
#define WIDEST 2
#endif

/* Return 2 if this processor has AVX-512, 1 if it has AVX2, else 0. */
static inline int processor_vectors(void)
{
    if (WIDEST == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define AVX2
#define AVX512
static inline int processor_vectors(void) { return 0; }
#endif

/* Threads that run jobs: `run` and `number` are GOMP_parallel and omp_get_thread_num of an OpenMP
 * library, or missing. scratch: memory for each of the threads. */
struct team {
    void (*run)(void (*)(void *), void *, unsigned, unsigned);
    int (*number)(void);
    int64_t threads;
    float *scratch[];
};

/* Jobs of one kind. Each structure begins with `taken`: whether a thread has begun the job. */
struct jobs {
    void (*run)(void *job, float *scratch);
    char *first;
    int64_t size, count, threads;
    const struct team *team;
};

/* Run this thread's share of the jobs, whose memory is in the cache of the thread's core, then those
 * that no thread has begun. */
static inline void take_jobs(void *argument)
{
    const struct jobs *jobs = argument;
    int64_t thread = jobs->threads > 1 ? jobs->team->number() : 0;
    for (int64_t i = 0, start = thread * jobs->count / jobs->threads; i < jobs->count; i++) {
        char *job = jobs->first + (start + i) % jobs->count * jobs->size;
        if (!__atomic_exchange_n((int64_t *)job, 1, __ATOMIC_RELAXED))
            jobs->run(job, jobs->team->scratch[thread]);
    }
}

static inline void run_jobs(struct jobs *jobs)
{
    for (int64_t i = 0; i < jobs->count; i++) *(int64_t *)(jobs->first + i * jobs->size) = 0;
    jobs->threads = jobs->team->threads < jobs->count ? jobs->team->threads : jobs->count;
    if (jobs->threads > 1) jobs->team->run(take_jobs, jobs, (unsigned)jobs->threads, 0);
    else take_jobs(jobs);
}

/* Define a step of a job: for each kind of vectors, a function with these parameters that makes `call`,
 * where `rows` is that of run_job. A step is not inlined, because compilers take far more than twice
 * the time for a function of twice the size. No parameter is a vector: each kind passes its own way. */
#define DEFINE_STEP(name, parameters, call) \
    AVX2 static __attribute__((noinline)) void name##_avx2 parameters \
    { \
        enum { rows = ROWS / 2 }; \
        call; \
    } \
    AVX512 static __attribute__((noinline)) void name##_avx512 parameters \
    { \
        enum { rows = ROWS }; \
        call; \
    }
/* The function of a step for a job with products of `rows` rows. */
#define STEP(name, rows) ((rows) == ROWS ? name##_avx512 : name##_avx2)

/* Define run_one, which runs a job of a structure by run_job(job, rows, scratch) with the vectors of
 * this processor, `rows` being the rows of a product at a time; and run_jobs_of, which runs jobs on the
 * threads of a team. */
#define DEFINE_JOBS_OF(structure) \
    AVX2 static void run_avx2(struct structure *j, float *m) { run_job(j, ROWS / 2, m); } \
    AVX512 static void run_avx512(struct structure *j, float *m) { run_job(j, ROWS, m); } \
    static void run_one(void *job, float *scratch) \
    { \
        if (processor_vectors() == 2) run_avx512(job, scratch); \
        else run_avx2(job, scratch); \
    } \
    static void run_jobs_of(struct structure *first, int64_t count, const struct team *team) \
    { \
        struct jobs jobs = {run_one, (char *)first, sizeof *first, count, 0, team}; \
        run_jobs(&jobs); \
    }

/* Define the library's function of this name, which runs jobs on the threads of a team and returns 1,
 * and one that returns the size of their structure. */
#define DEFINE_CALL(name, structure) \
    int64_t caffe_native_##name##_size(void) { return sizeof(struct structure); } \
    int caffe_native_##name(struct structure *first, int64_t count, const struct team *team) \
    { \
        run_jobs_of(first, count, team); \
        return 1; \
    }

/* Likewise for jobs that set `finite`; the function returns whether all results are finite. */
#define DEFINE_FINITE_CALL(name, structure) \
    int64_t caffe_native_##name##_size(void) { return sizeof(struct structure); } \
    int caffe_native_##name(struct structure *first, int64_t count, const struct team *team) \
    { \
        run_jobs_of(first, count, team); \
        int finite = 1; \
        for (int64_t i = 0; i < count; i++) finite &= first[i].finite; \
        return finite; \
    }

/* Return whether all values are zeros, which products with 0 are unless a value is not finite. */
INLINE int32_t are_zeros(vector values)
{
    int32_t result = 1;
    for (int i = 0; i < PANEL; i++) result &= values[i] == 0;
    return result;
}

/* One call of a function that runs jobs and returns whether their results can be used. */
struct call {
    int (*run)(void *, int64_t, const struct team *);
    void *jobs;
    int64_t count;
};
