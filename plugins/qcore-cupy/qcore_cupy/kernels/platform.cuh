// What the arithmetic needs from its compiler: CUDA's, or any for C++17.
//
// The arithmetic is plain C++ on numbers and pointers, so that the codes of these kernels can be
// compared with the reference's to the bit on a machine without a GPU. It must be compiled without
// contraction of a·b + c, without flushing of subnormals, and with IEEE division.
#pragma once

#ifdef __CUDACC__
#define QCORE_FN __host__ __device__ inline
#else
#define QCORE_FN inline
#endif

#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7F800000)
#else
#include <math.h>
#endif

typedef long long i64;
typedef unsigned long long u64;

constexpr float LARGEST_FLOAT = 3.402823466e+38f;
