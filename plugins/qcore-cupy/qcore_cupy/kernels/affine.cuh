// From values to units of the scale, and back.
#pragma once
#include "platform.cuh"

constexpr float WIDE_OFFSET = 0x1p125f;

// Whether a block is so wide that x - offset may overflow: it is then scaled down by four.
QCORE_FN bool is_wide(float offset) { return fabsf(offset) > WIDE_OFFSET; }

// (x - offset) / scale in float32.
QCORE_FN float normalized(float x, float scale, bool shifted, float offset) {
    if (!shifted) return x / scale;
    float room = is_wide(offset) ? 0.25f : 1.0f;
    return (x * room - offset * room) / (scale * room);
}

// The float32 next to a value; the largest one beyond their range.
QCORE_FN float saturated(double value) {
    if (value < -(double)LARGEST_FLOAT) return -LARGEST_FLOAT;
    if (value > (double)LARGEST_FLOAT) return LARGEST_FLOAT;
    return (float)value;
}

// unit * scale + offset, rounded to float32 after the product and after the sum.
QCORE_FN float value_of(double unit, float scale, bool shifted, float offset) {
    double scaled = unit * (double)scale;
    if (!shifted) return saturated(scaled);
    bool wide = is_wide(offset);
    float sum = (float)(wide ? scaled * 0.25 : scaled) + (wide ? offset * 0.25f : offset);
    return saturated(wide ? (double)sum * 4 : (double)sum);
}

// The same for a unit that float32 holds, at a fraction of the cost: float64 holds the product of
// two float32, so rounding it is what float32 multiplication does.
QCORE_FN float value_of(float unit, float scale, bool shifted, float offset) {
    if (shifted && is_wide(offset)) return value_of((double)unit, scale, shifted, offset);
    float value = unit * scale;
    if (shifted) value = value + offset;
    return fabsf(value) == INFINITY ? copysignf(LARGEST_FLOAT, value) : value;
}
