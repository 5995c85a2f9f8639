/* One-spike layers, event by event: the forward pass and the two sums of the backward pass.
 *
 * A layer is a convolution; a dense one has a single site. Outputs lie as (sample, site, channel), channels padded to a
 * multiple of SG_LANES, so that a spike adds whole rows. Every sum is taken in one order, whatever the number of threads: a
 * sample belongs to one thread in the forward pass, a row of the weights' gradient to one thread in the backward pass.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../hwsim/neuron.h"

#define SG_LANES 16

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

typedef struct {
  int64_t n_samples, n_steps;
  int64_t channels, height, width;                     /* in */
  int64_t rows, columns, outputs, lanes;               /* out: sites; channels without and with padding */
  int64_t kernel_height, kernel_width, stride, padding;
} sg_layer;

EXPORT int64_t sg_layer_size(void) { return sizeof(sg_layer); }

/* The lines that spike, in order of their steps, those of one step in order of their index; starts: of each step. */
static void sort_events(const sg_layer *layer, const int32_t *times, int32_t *events, int32_t *starts) {
  const int64_t n_in = layer->channels * layer->height * layer->width, n_steps = layer->n_steps;
  memset(starts, 0, (size_t)(n_steps + 2) * sizeof *starts);
  for (int64_t j = 0; j < n_in; j++)
    if (times[j] < n_steps) starts[times[j] + 2]++;
  for (int64_t t = 2; t <= n_steps + 1; t++) starts[t] += starts[t - 1];
  for (int64_t j = 0; j < n_in; j++)
    if (times[j] < n_steps) events[starts[times[j] + 1]++] = (int32_t)j;
}

typedef struct {
  int64_t row, site; /* of the weights, and where in the output */
} tap;

/* What a line of the input reaches. */
static int64_t taps_of(const sg_layer *layer, int64_t line, tap *taps) {
  const int64_t channel = line / (layer->height * layer->width), within = line % (layer->height * layer->width);
  const int64_t y = within / layer->width + layer->padding, x = within % layer->width + layer->padding;
  int64_t n = 0;
  for (int64_t r = 0; r < layer->kernel_height; r++) {
    if (y < r || (y - r) % layer->stride || (y - r) / layer->stride >= layer->rows) continue;
    for (int64_t q = 0; q < layer->kernel_width; q++) {
      if (x < q || (x - q) % layer->stride || (x - q) / layer->stride >= layer->columns) continue;
      taps[n].row = (channel * layer->kernel_height + r) * layer->kernel_width + q;
      taps[n++].site = (y - r) / layer->stride * layer->columns + (x - q) / layer->stride;
    }
  }
  return n;
}

/* A sum of whole numbers keeps its low 32 bits: x is then aligned and wrapped to 24, so that no others matter. */
#define ADD_FLOATS(a, b) ((a) + (b))
#define ADD_WHOLE(a, b) ((int32_t)((uint32_t)(a) + (uint32_t)(b)))

/* Forward: `value` is float, or int32_t for whole numbers, and `add` adds two of them. With `aligned` x is summed apart, aligned, wrapped and saturated as
 * docs/semantics.md says, and bias is in units of v; without, the caller knows that neither can happen, and sums go straight
 * into v, in units of x. A bias, one per output channel, may be NULL. */
#define FORWARD(name, value, add, lowest, highest, aligned)                                                             \
  CLONES EXPORT int64_t name(const sg_layer *layer, const int32_t *times, const value *weight, const value *bias,       \
                             value threshold, const int32_t *until, int32_t *fired_at, value *peak,                     \
                             int32_t *peak_at, value *last, int64_t first, int64_t every) {                             \
    const int64_t lanes = layer->lanes, n_sites = layer->rows * layer->columns, n = n_sites * lanes;                    \
    const int64_t n_in = layer->channels * layer->height * layer->width;                                                \
    value *v = malloc((size_t)n * sizeof *v), *x = malloc((size_t)n * sizeof *x);                                       \
    value *top = malloc((size_t)n * sizeof *top), *limit = malloc((size_t)n * sizeof *limit);                           \
    int32_t *top_at = malloc((size_t)n * sizeof *top_at);                                                               \
    int32_t *events = malloc((size_t)(n_in + layer->n_steps + 2) * sizeof *events), *starts = events + n_in;            \
    int32_t *touched = malloc((size_t)n_sites * sizeof *touched);                                                       \
    uint8_t *is_touched = calloc((size_t)n_sites, 1);                                                                   \
    tap *taps = malloc((size_t)(layer->kernel_height * layer->kernel_width) * sizeof *taps);                            \
    const int complete = v && x && top && limit && top_at && events && touched && is_touched && taps;                   \
    for (int64_t b = first; complete && b < layer->n_samples; b += every) {                                             \
      sort_events(layer, times + b * n_in, events, starts);                                                             \
      memset(v, 0, (size_t)n * sizeof *v);                                                                              \
      memset(x, 0, (size_t)n * sizeof *x);                                                                              \
      for (int64_t i = 0; i < n; i++) {                                                                                 \
        top[i] = lowest;                                                                                                \
        top_at[i] = -1;                                                                                                 \
        limit[i] = threshold;                                                                                           \
        fired_at[b * n + i] = (int32_t)layer->n_steps;                                                                  \
      }                                                                                                                 \
      value *sums = (aligned) ? x : v;                                                                                  \
      int64_t left = n_sites * layer->outputs;                                                                          \
      for (int32_t t = 0; left && t <= until[b]; t++) {                                                                 \
        int64_t n_touched = 0;                                                                                          \
        for (int64_t site = 0; bias && site < n_sites; site++) {                                                        \
          touched[n_touched++] = (int32_t)site; /* every neuron moves in every step */                                  \
          is_touched[site] = 1;                                                                                         \
        }                                                                                                               \
        for (int32_t e = starts[t]; e < starts[t + 1]; e++) {                                                           \
          const int64_t n_taps = taps_of(layer, events[e], taps);                                                       \
          for (int64_t k = 0; k < n_taps; k++) {                                                                        \
            const value *restrict row = weight + taps[k].row * lanes;                                                   \
            value *restrict to = sums + taps[k].site * lanes;                                                           \
            for (int64_t i = 0; i < lanes; i++) to[i] = add(to[i], row[i]);                                             \
            if (!is_touched[taps[k].site]) touched[n_touched++] = (int32_t)taps[k].site;                                \
            is_touched[taps[k].site] = 1;                                                                               \
          }                                                                                                             \
        }                                                                                                               \
        for (int64_t k = 0; k < n_touched; k++) {                                                                       \
          const int64_t begin = touched[k] * lanes;                                                                     \
          is_touched[touched[k]] = 0;                                                                                   \
          value *restrict v_site = v + begin, *restrict x_site = x + begin, *restrict top_site = top + begin;           \
          int32_t *restrict at_site = top_at + begin;                                                                   \
          const value *restrict limit_site = limit + begin;                                                             \
          int32_t any = 0;                                                                                              \
          for (int64_t i = 0; i < lanes; i++) {                                                                         \
            if (aligned) {                                                                                              \
              const int32_t u = sg_wrap24((uint32_t)x_site[i] << SG_ALIGN_BITS);                                        \
              v_site[i] = (value)sg_saturate24((int32_t)v_site[i] + u + (bias ? (int32_t)bias[i] : 0));                 \
              x_site[i] = 0;                                                                                            \
            } else if (bias) {                                                                                          \
              v_site[i] += bias[i];                                                                                     \
            }                                                                                                           \
            const int32_t higher = v_site[i] > top_site[i];                                                             \
            top_site[i] = higher ? v_site[i] : top_site[i];                                                             \
            at_site[i] = higher ? t : at_site[i];                                                                       \
            any |= v_site[i] > limit_site[i];                                                                           \
          }                                                                                                             \
          if (!any) continue;                                                                                           \
          for (int64_t i = begin; i < begin + lanes; i++)                                                               \
            if (v[i] > limit[i]) {                                                                                      \
              fired_at[b * n + i] = t;                                                                                  \
              peak[b * n + i] = last[b * n + i] = v[i];                                                                 \
              peak_at[b * n + i] = t;                                                                                   \
              limit[i] = top[i] = highest; /* once, and no higher */                                                    \
              left--;                                                                                                   \
            }                                                                                                           \
        }                                                                                                               \
      }                                                                                                                 \
      for (int64_t i = 0; i < n; i++)                                                                                   \
        if (limit[i] != highest) {                                                                                      \
          peak[b * n + i] = top_at[i] < 0 ? 0 : top[i];                                                                 \
          peak_at[b * n + i] = top_at[i];                                                                               \
          last[b * n + i] = v[i];                                                                                       \
        }                                                                                                               \
    }                                                                                                                   \
    free(v), free(x), free(top), free(limit), free(top_at);                                                             \
    free(events), free(touched), free(is_touched), free(taps);                                                          \
    return complete ? 0 : -1;                                                                                           \
  }

FORWARD(sg_forward_float, float, ADD_FLOATS, -__FLT_MAX__, __FLT_MAX__, 0)
FORWARD(sg_forward_whole, int32_t, ADD_WHOLE, INT32_MIN, INT32_MAX, 0)
FORWARD(sg_forward_aligned, int32_t, ADD_WHOLE, INT32_MIN, INT32_MAX, 1)

/* gradient[row] += sum over samples, spikes j and outputs i of delta_i · f(end_i - t_j). f is 1 from 0 on and 0 before, or
 * `table`, whose entry n_steps stands for 0. Of the rows, those that are `first` modulo `every`. */
CLONES EXPORT int64_t sg_pairs(const sg_layer *layer, const int32_t *times, const int32_t *ends, const float *delta,
                               const float *table, float *gradient, int64_t first, int64_t every) {
  const int64_t lanes = layer->lanes, n_sites = layer->rows * layer->columns;
  const int64_t n_in = layer->channels * layer->height * layer->width;
  tap *taps = malloc((size_t)(layer->kernel_height * layer->kernel_width) * sizeof *taps);
  uint8_t *matters = malloc((size_t)n_sites);
  const int complete = taps && matters;
  for (int64_t b = 0; complete && b < layer->n_samples; b++) {
    const float *of_sample = delta + b * n_sites * lanes;
    int any_site = 0;
    for (int64_t site = 0; site < n_sites; site++) {
      int any = 0;
      for (int64_t i = 0; i < lanes; i++) any |= of_sample[site * lanes + i] != 0;
      matters[site] = (uint8_t)any;
      any_site |= any;
    }
    if (!any_site) continue;
    for (int64_t j = 0; j < n_in; j++) {
      const int32_t t = times[b * n_in + j];
      if (t >= layer->n_steps) continue; /* a silent line has no part in anything */
      const int64_t n_taps = taps_of(layer, j, taps);
      for (int64_t k = 0; k < n_taps; k++) {
        if (!matters[taps[k].site] || taps[k].row % every != first) continue;
        const float *restrict d = of_sample + taps[k].site * lanes;
        const int32_t *restrict end = ends + (b * n_sites + taps[k].site) * lanes;
        float *restrict g = gradient + taps[k].row * lanes;
        if (table)
          for (int64_t i = 0; i < lanes; i++) g[i] += d[i] * table[end[i] - t + layer->n_steps];
        else
          for (int64_t i = 0; i < lanes; i++) g[i] += end[i] >= t ? d[i] : 0;
      }
    }
  }
  free(taps), free(matters);
  return complete ? 0 : -1;
}

/* back_j = sum over outputs i with t_j <= end_i of weight_ij · delta_i, for silent lines too (t_j = n_steps). */
CLONES EXPORT int64_t sg_back(const sg_layer *layer, const int32_t *times, const int32_t *ends, const float *delta,
                              const float *weight, float *back, int64_t first, int64_t every) {
  const int64_t lanes = layer->lanes, n_sites = layer->rows * layer->columns;
  const int64_t n_in = layer->channels * layer->height * layer->width;
  tap *taps = malloc((size_t)(layer->kernel_height * layer->kernel_width) * sizeof *taps);
  for (int64_t b = first; taps && b < layer->n_samples; b += every)
    for (int64_t j = 0; j < n_in; j++) {
      const int32_t t = times[b * n_in + j];
      const int64_t n_taps = taps_of(layer, j, taps);
      float sums[SG_LANES] = {0};
      for (int64_t k = 0; k < n_taps; k++) {
        const int64_t at = (b * n_sites + taps[k].site) * lanes;
        const float *restrict w = weight + taps[k].row * lanes;
        for (int64_t i = 0; i < lanes; i += SG_LANES)
          for (int64_t lane = 0; lane < SG_LANES; lane++)
            sums[lane] += ends[at + i + lane] >= t ? w[i + lane] * delta[at + i + lane] : 0;
      }
      float sum = 0;
      for (int64_t lane = 0; lane < SG_LANES; lane++) sum += sums[lane];
      back[b * n_in + j] = sum;
    }
  const int complete = taps != NULL;
  free(taps);
  return complete ? 0 : -1;
}

#ifndef SPIKEGRAPH_PLAIN_LIBRARY
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "The compiled part of one-spike layers.", -1, NULL,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
#endif
