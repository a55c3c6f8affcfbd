// Codes to values.
#include "threads.cuh"

// Sets *outside where a code is none of the scheme's.
template <typename Code>
__device__ inline void decode(const Blocks& blocks, const Scheme& scheme, const Code* codes,
                              float* __restrict__ values, int* outside) {
    for_each_row<AnyScheme>(blocks, scheme, codes, [&](const Row& row, i64 index, Code code) {
        if (is_code(scheme, (i64)code)) values[index] = decoded(scheme, row, (i64)code);
        else *outside = 1;
    });
}

#define DECODE(NAME, CODE)                                                           \
    extern "C" __global__ void NAME(Blocks blocks, Scheme scheme, const CODE* codes, \
                                    float* values, int* outside) {                   \
        decode(blocks, scheme, codes, values, outside);                              \
    }

DECODE(decode_int8, signed char)
DECODE(decode_uint8, unsigned char)
DECODE(decode_int16, short)
DECODE(decode_uint16, unsigned short)
DECODE(decode_int32, int)
DECODE(decode_uint32, unsigned)
DECODE(decode_int64, i64)
