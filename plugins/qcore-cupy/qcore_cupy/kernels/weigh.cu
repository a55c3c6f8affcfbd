// Sums of products to outputs of a layer.
#include "epilogue.cuh"
#include "threads.cuh"

template <typename Sum>
__device__ inline void weigh_each(const Blocks& blocks, const Layer& layer, const Sum* product) {
    for_each_place(blocks, product, [&](const Place& place, i64, Sum sum) {
        i64 row = place.outer, column = place.inner;
        if (column < layer.columns) weigh(layer, (i64)sum, row, column);
    });
}

#define WEIGH(NAME, SUM)                                                                 \
    extern "C" __global__ void NAME(Blocks blocks, Layer layer, const SUM* product) {    \
        weigh_each(blocks, layer, product);                                              \
    }

WEIGH(weigh_int32, int)
WEIGH(weigh_int64, i64)
