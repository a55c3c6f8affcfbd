// Error sums: one set for each group of threads, added up in a fixed order.
#include "errors.cuh"
#include "threads.cuh"

// Add up the sums of a group's threads, pair by pair, and write them.
__device__ inline void write_partial(const Sums& own, double* partial) {
    __shared__ double shared[SUMS][THREADS];
    int thread = threadIdx.x;
    for (int i = 0; i < SUMS; ++i) shared[i][thread] = own.of[i];
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            for (int i = 0; i < SUMS; ++i)
                shared[i][thread] = merged(i, shared[i][thread], shared[i][thread + half]);
        }
    }
    if (thread == 0) {
        for (int i = 0; i < SUMS; ++i) partial[blockIdx.x * SUMS + i] = shared[i][0];
    }
}

// Of decode(encode(x)).
extern "C" __global__ void measure_scheme(Blocks blocks, Scheme scheme, const float* x, i64 wanted,
                                          double* partial) {
    Sums sums;
    clear(sums);
    for_each_rounded(blocks, scheme, x,
                     [&](auto kind, const Row& row, i64, float value, double u) {
                         float t = units_of<decltype(kind)>(scheme, row, value);
                         float y = rendered<decltype(kind)>(scheme, row, t, u);
                         add_products(sums, value, y);
                         if (!wants_more(wanted)) return;
                         add_others(sums, value, y, is_clipped(scheme, row, t));
                     });
    write_partial(sums, partial);
}

// Of values that are there already.
template <typename Value>
__device__ inline void measure(const Blocks& blocks, const float* x, const Value* values, i64 wanted,
                               double* partial) {
    Sums sums;
    clear(sums);
    for_each_place(blocks, x, [&](const Place&, i64 index, float value) {
        add_products(sums, value, values[index]);
        if (wants_more(wanted)) add_others(sums, value, values[index], false);
    });
    write_partial(sums, partial);
}

#define MEASURE(NAME, VALUE)                                                            \
    extern "C" __global__ void NAME(Blocks blocks, const float* x, const VALUE* values, \
                                    i64 wanted, double* partial) {                      \
        measure(blocks, x, values, wanted, partial);                                    \
    }

MEASURE(measure_float32, float)
MEASURE(measure_float64, double)
