// What comes after an integer product: exact sums, scales, constants, bias and activation.
#pragma once
#include "platform.cuh"

// As the host fills it in; every field has 8 bytes. See arguments.py.
struct Layer {
    i64 columns;             // of the output; the product's rows may be longer
    const i64* row_sums;     // what a sum lacks for its row, as operands were recentred; or null
    const i64* column_sums;  // and for its column
    double power;            // 256^(digits before these two)
    const double* row_scale;
    i64 row_step;  // from one row's scale to the next one's
    const double* column_scale;
    i64 column_step;
    const double* left;  // constants, as a matrix of low rank: (rows, terms) and (terms, columns)
    i64 left_step;
    const double* right;
    i64 right_step;
    i64 terms;
    double* total;  // of the products so far, (rows, columns); null if there is but one
    i64 adds;       // whether something is in it
    const double* bias;
    i64 relu;
    float* out;  // null if products are still to come
};

// The sum of products of the integers as they were before they were recentred.
QCORE_FN i64 exact_sum(i64 sum, const i64* row_sums, const i64* column_sums, i64 row, i64 column) {
    if (row_sums) sum += row_sums[row];
    if (column_sums) sum += column_sums[column];
    return sum;
}

// What one product, and the constants that come with it, add to an output.
QCORE_FN double weighted(const Layer& layer, i64 sum, i64 row, i64 column) {
    sum = exact_sum(sum, layer.row_sums, layer.column_sums, row, column);
    double value = (double)sum * layer.power;
    value = value * layer.row_scale[row * layer.row_step];
    value = value * layer.column_scale[column * layer.column_step];
    for (i64 i = 0; i < layer.terms; ++i)
        value += layer.left[row * layer.left_step + i] * layer.right[i * layer.right_step + column];
    return value;
}

QCORE_FN float finished(const Layer& layer, double value, i64 column) {
    if (layer.bias) value += layer.bias[column];
    if (layer.relu && value < 0) value = 0;
    return (float)value;
}

// One output, or what is known of it.
QCORE_FN void weigh(const Layer& layer, i64 sum, i64 row, i64 column) {
    i64 place = row * layer.columns + column;
    double value = weighted(layer, sum, row, column);
    if (layer.adds) value = layer.total[place] + value;
    if (layer.out) layer.out[place] = finished(layer, value, column);
    else layer.total[place] = value;
}
