// A scheme that is a grid, with its params: the code of an element, and the value of a code.
#pragma once
#include "affine.cuh"
#include "platform.cuh"
#include "rounding.cuh"

// As the host fills it in; every field has 8 bytes. See arguments.py.
struct Scheme {
    const float* scale;     // one for every block
    const int* zero_point;  // likewise, or null
    const float* offset;    // likewise, or null
    const double* units;    // ascending; null for a grid of integers
    const double* cuts;     // what separates each unit from the next
    i64 count;              // of units
    i64 low, high;          // the first code and the last
    double clip_low, clip_high;  // t + zero point outside of these counts as clipped
    i64 rule;
    const double* u;  // in the order of the elements, where the rule is GIVEN
    u64 seed;         // where it is HASHED
    i64 position;     // of the first element
};

// What a loop over elements takes for granted, so that nothing else is asked for each of them.
struct AnyScheme {
    enum { AHEAD = 1 };  // how many elements a thread loads before it uses them
    static QCORE_FN bool levels(const Scheme& s) { return s.units != nullptr; }
    static QCORE_FN bool shifted(const Scheme& s) { return s.offset != nullptr; }
    static QCORE_FN bool zeroed(const Scheme& s) { return s.zero_point != nullptr; }
};
struct Levels : AnyScheme {
    static QCORE_FN bool levels(const Scheme&) { return true; }
    static QCORE_FN bool zeroed(const Scheme&) { return false; }
};
struct Integers : AnyScheme {
    enum { AHEAD = 4 };
    static QCORE_FN bool levels(const Scheme&) { return false; }
};
struct Symmetric : Integers {
    static QCORE_FN bool shifted(const Scheme&) { return false; }
    static QCORE_FN bool zeroed(const Scheme&) { return false; }
};

// The params of one block.
struct Row {
    float scale, offset;
    int zero_point;
};

template <typename Kind>
QCORE_FN Row row_of(const Scheme& s, i64 block) {
    Row row;
    row.scale = s.scale[block];
    row.offset = Kind::shifted(s) ? s.offset[block] : 0;
    row.zero_point = Kind::zeroed(s) ? s.zero_point[block] : 0;
    return row;
}

// The number u of an element: its place in memory, and its place in C order.
QCORE_FN double chance(const Scheme& s, i64 place, i64 position) {
    return s.rule == GIVEN ? s.u[place] : uniform(s.seed, (u64)(s.position + position));
}

template <typename Kind>
QCORE_FN float units_of(const Scheme& s, const Row& row, float x) {
    return normalized(x, row.scale, Kind::shifted(s), row.offset);
}

// Clip(round(t) + z, low, high), as float32.
template <typename Kind>
QCORE_FN float integer_of(const Scheme& s, const Row& row, float t, double u) {
    float q = rounded(t, (int)s.rule, u);
    if (Kind::zeroed(s)) q = q + (float)row.zero_point;
    return fminf(fmaxf(q, (float)s.low), (float)s.high);
}

// The index of the level that t goes to.
QCORE_FN int level_of(const Scheme& s, float t, double u) {
    int first = 0, last = (int)s.count;  // of the units above t
    while (first < last) {
        int middle = (first + last) >> 1;
        if (t < s.units[middle]) last = middle;
        else first = middle + 1;
    }
    int highest = (int)s.count - 2;
    int index = first < 1 ? 0 : first - 1 > highest ? highest : first - 1;
    double x = t, lower = s.units[index], upper = s.units[index + 1];
    if (x >= upper) return index + 1;
    if (!(x > lower)) return index;
    bool even = ((index + s.low) & 1) == 0;
    return index + goes_up((int)s.rule, u, x, lower, upper, s.cuts[index], even);
}

template <typename Kind>
QCORE_FN int code_of(const Scheme& s, const Row& row, float x, double u) {
    float t = units_of<Kind>(s, row, x);
    if (Kind::levels(s)) return level_of(s, t, u) + (int)s.low;
    return (int)integer_of<Kind>(s, row, t, u);
}

QCORE_FN bool is_code(const Scheme& s, i64 code) {
    return !s.units || (code >= s.low && code <= s.high);
}

// The value of a code, which must be one.
QCORE_FN float decoded(const Scheme& s, const Row& row, i64 code) {
    double unit = s.units ? s.units[code - s.low] : (double)code - (double)row.zero_point;
    return value_of(unit, row.scale, s.offset != nullptr, row.offset);
}

constexpr int SMALL_ZERO_POINT = 1 << 22;  // float32 holds the codes less this, all of them

// decoded(code_of(x)) from t, without a code in between.
template <typename Kind>
QCORE_FN float rendered(const Scheme& s, const Row& row, float t, double u) {
    bool shifted = Kind::shifted(s);
    if (Kind::levels(s)) return value_of(s.units[level_of(s, t, u)], row.scale, shifted, row.offset);
    float q = integer_of<Kind>(s, row, t, u);
    int z = row.zero_point;
    if (Kind::zeroed(s) && (z > SMALL_ZERO_POINT || z < -SMALL_ZERO_POINT))
        return value_of((double)q - (double)z, row.scale, shifted, row.offset);
    return value_of(q - (float)z, row.scale, shifted, row.offset);
}

QCORE_FN bool is_clipped(const Scheme& s, const Row& row, float t) {
    double reached = (double)t + (double)row.zero_point;
    return reached < s.clip_low || reached > s.clip_high;
}
