// The sums over elements from which every metric follows, in float64.
#pragma once
#include "platform.cuh"

// Bits of what is wanted, and places of the sums, in this order. See errors.py.
enum { X2, E2, XY, Y2, ABS_E, MAX_E, CLIPPED, SUMS };

struct Sums {
    double of[SUMS];
};

QCORE_FN void clear(Sums& sums) {
    for (int i = 0; i < SUMS; ++i) sums.of[i] = 0;
}

// One sum of two sets of elements together.
QCORE_FN double merged(int which, double a, double b) {
    return which == MAX_E ? (b > a || b != b ? b : a) : a + b;
}

// Add an element and its rendering to the sums of products, wanted or not: to ask takes longer. A
// product of two float32 is exact in float64, so fma only saves an instruction.
QCORE_FN void add_products(Sums& sums, float element, double y) {
    double x = element, error = y - x;
    sums.of[X2] = fma(x, x, sums.of[X2]);
    sums.of[E2] = fma(error, error, sums.of[E2]);
    sums.of[XY] = fma(x, y, sums.of[XY]);
    sums.of[Y2] = fma(y, y, sums.of[Y2]);
}

// Whether any sum is wanted but those of products.
QCORE_FN bool wants_more(i64 wanted) { return wanted >> ABS_E != 0; }

// Add it to the others.
QCORE_FN void add_others(Sums& sums, float element, double y, bool clipped) {
    double size = fabs(y - (double)element);
    sums.of[ABS_E] += size;
    sums.of[MAX_E] = merged(MAX_E, sums.of[MAX_E], size);
    sums.of[CLIPPED] += clipped;
}
