// Sums of products of recentred integers to those of the integers themselves.
#include "epilogue.cuh"
#include "threads.cuh"

// Rows of the product may be longer than those of the output.
template <typename Sum>
__device__ inline void restore(const Blocks& blocks, const int* product, const i64* row_sums,
                               const i64* column_sums, i64 adds, i64 columns, Sum* out) {
    for_each_place(blocks, product, [&](const Place& place, i64, int sum) {
        i64 row = place.outer, column = place.inner;
        if (column >= columns) return;
        i64 exact = exact_sum(sum, row_sums, column_sums, row, column);
        Sum* target = out + row * columns + column;
        *target = (Sum)(adds ? *target + exact : exact);
    });
}

#define RESTORE(NAME, SUM)                                                                       \
    extern "C" __global__ void NAME(Blocks blocks, const int* product, const i64* row_sums,      \
                                    const i64* column_sums, i64 adds, i64 columns, SUM* out) {   \
        restore(blocks, product, row_sums, column_sums, adds, columns, out);                     \
    }

RESTORE(restore_int32, int)
RESTORE(restore_int64, i64)
