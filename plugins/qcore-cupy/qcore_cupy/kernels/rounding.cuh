// Which of two neighbours on a grid a value goes to.
#pragma once
#include "platform.cuh"

// A rule is a table of twelve bits: bit 4·region + 2·negative + lower_even says whether a value
// goes up. The region is 0 below the threshold, 1 at it, 2 above. The host reads the tables off the
// policies themselves.
constexpr int HALF_EVEN = 0xF50;

// Rules that go by a number u in [0, 1): up where u < how far the value is on its way up.
constexpr int GIVEN = -1;   // u is given for every element
constexpr int HASHED = -2;  // u is a hash of seed and position

// The finalizer of SplitMix64.
QCORE_FN u64 mixed(u64 z) {
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// The number u of an element: a multiple of 2^-53.
QCORE_FN double uniform(u64 seed, u64 position) {
    return (double)(mixed(position + mixed(seed)) >> 11) * 0x1p-53;
}

template <typename T>
QCORE_FN bool goes_up(int rule, double u, T x, T lower, T upper, T threshold, bool lower_even) {
    if (rule < 0) return u < ((double)x - (double)lower) / ((double)upper - (double)lower);
    int region = x > threshold ? 2 : x == threshold ? 1 : 0;
    return (rule >> (4 * region + 2 * (x < 0) + lower_even)) & 1;
}

// x to an integer. Whatever is one already stays; so do infinities.
QCORE_FN float rounded(float x, int rule, double u) {
    if (rule == HALF_EVEN) return rintf(x);
    float lower = floorf(x);
    if (x == lower) return x;
    bool even = floorf(lower * 0.5f) * 2 == lower;
    return lower + goes_up(rule, u, x, lower, lower + 1, lower + 0.5f, even);
}
