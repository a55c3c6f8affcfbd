// Blocks to codes.
#include "threads.cuh"

template <typename Code>
__device__ inline void encode(const Blocks& blocks, const Scheme& scheme, const float* x,
                              Code* __restrict__ codes) {
    for_each_rounded(blocks, scheme, x,
                     [&](auto kind, const Row& row, i64 index, float value, double u) {
                         codes[index] = (Code)code_of<decltype(kind)>(scheme, row, value, u);
                     });
}

#define ENCODE(NAME, CODE)                                                                       \
    extern "C" __global__ void NAME(Blocks blocks, Scheme scheme, const float* x, CODE* codes) { \
        encode(blocks, scheme, x, codes);                                                        \
    }

ENCODE(encode_int8, signed char)
ENCODE(encode_uint8, unsigned char)
ENCODE(encode_int16, short)
ENCODE(encode_uint16, unsigned short)
