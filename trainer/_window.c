/* A window of neurons for training on a CPU: what trainer/window.py defines with torch, in float32, all steps of a block
 * of neurons while it lies in cache. The integer step is hwsim/neuron.h's. Compiled without contraction to fused
 * multiply-adds, and with the operations in window.py's order, so that every float is rounded as torch rounds it.
 */
#include <stdint.h>
#include <string.h>

#include "../hwsim/neuron.h"

#define SG_BLOCK 256 /* neurons whose states stay in the first-level cache, beside the rows that stream by */
#define SG_LINE 16   /* floats of a cache line */

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define SG_LEVELS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SG_LEVELS
#endif

enum { SG_ZERO, SG_SUBTRACT, SG_NONE };
enum { SG_ARCTAN, SG_FAST_SIGMOID, SG_TRIANGLE };

typedef struct { /* a parameter of the neurons: one number, or one for each of a sample's */
  const float *values;
  int64_t n;
} sg_parameter;

/* torch's own threads: OpenMP's entry for a parallel section. */
typedef void (*sg_team)(void (*)(void *), void *, unsigned, unsigned);

/* Arrays are (n_steps, n_neurons), n_neurons those of all samples; a null pointer is an array that is not wanted. */
typedef struct {
  int64_t n_steps, n_neurons, integer, backward, reset, refractory_steps, max_spikes, surrogate;
  sg_parameter threshold, bias, kept_u, kept_v; /* forward in integers: kept is 4096 - decay */
  const float *x;
  float *s, *v_before_reset, *u, *v;
  uint8_t *integrates; /* there only if neurons can pause */
  /* backward; the gradients of parameters are (n_neurons), to be summed over the samples */
  const float *grad_s, *grad_v;
  float *grad_x, *grad_threshold, *grad_bias, *grad_kept_u, *grad_kept_v;
  sg_team team; /* null: none was found */
  int64_t n_threads, next_block;
} sg_window;

static void load(const sg_parameter *parameter, int64_t first, int64_t n, float *to) {
  if (parameter->n == 1) {
    for (int64_t k = 0; k < n; k++) to[k] = parameter->values[0];
    return;
  }
  for (int64_t k = 0; k < n;) {
    const int64_t from = (first + k) % parameter->n;
    const int64_t run = parameter->n - from < n - k ? parameter->n - from : n - k;
    memcpy(to + k, parameter->values + from, (size_t)run * sizeof *to);
    k += run;
  }
}

/* Ask for the row that comes next while this one is computed: the processor foresees no jump from step to step. */
SG_INLINE void expect(const float *row, int64_t n) {
  for (int64_t k = 0; k < n; k += SG_LINE) __builtin_prefetch(row + k, 0);
}

SG_INLINE void expect_to_write(const float *row, int64_t n) {
  for (int64_t k = 0; k < n; k += SG_LINE) __builtin_prefetch(row + k, 1);
}

/* Where the next row begins, steps going up or down: the one of this block, else the first of the next block. */
SG_INLINE int64_t next_row(const sg_window *w, int64_t t, int64_t first, int64_t n, int64_t way) {
  const int64_t next = t + way, begin = way > 0 ? 0 : w->n_steps - 1;
  if (next >= 0 && next < w->n_steps) return next * w->n_neurons + first;
  return first + 2 * n <= w->n_neurons ? begin * w->n_neurons + first + n : t * w->n_neurons + first;
}

/* ---- forward ---- */

typedef struct {
  float threshold[SG_BLOCK], bias[SG_BLOCK], kept_u[SG_BLOCK], kept_v[SG_BLOCK], u[SG_BLOCK], v[SG_BLOCK];
  int32_t held[SG_BLOCK], n_spikes[SG_BLOCK];
} float_block;

SG_INLINE void float_step(float_block *block, int64_t n, const float *restrict x, float *restrict s,
                          float *restrict v_before_reset, uint8_t *restrict integrates, int32_t pause,
                          int32_t max_spikes, int reset, int pauses) {
  for (int64_t k = 0; k < n; k++) {
    const float u = block->kept_u[k] * block->u[k] + x[k];
    const float integrated = block->kept_v[k] * block->v[k] + u + block->bias[k];
    const int32_t held = pauses ? block->held[k] : 0;
    const float v = held == 0 ? integrated : 0.0f;
    const int fires = v > block->threshold[k];
    s[k] = fires ? 1.0f : 0.0f;
    v_before_reset[k] = v;
    block->u[k] = u;
    block->v[k] = !fires || reset == SG_NONE ? v : reset == SG_SUBTRACT ? v - block->threshold[k] : 0.0f;
    if (pauses) {
      const int32_t rest = held > 0 ? held - 1 : 0;
      const int32_t n_spikes = block->n_spikes[k] + fires;
      integrates[k] = held == 0;
      block->n_spikes[k] = n_spikes;
      block->held[k] = n_spikes >= max_spikes ? INT32_MAX : fires ? pause : rest;
    }
  }
}

typedef struct {
  int32_t keep_u[SG_BLOCK], keep_v[SG_BLOCK], threshold[SG_BLOCK], bias[SG_BLOCK];
  int32_t u[SG_BLOCK], v[SG_BLOCK], held[SG_BLOCK], n_spikes[SG_BLOCK];
  uint32_t x[SG_BLOCK];
} integer_block;

SG_INLINE void integer_step(integer_block *block, int64_t n, float *restrict s, float *restrict v_before_reset,
                            uint8_t *restrict integrates, int32_t pause, int32_t max_spikes, int reset, int pauses) {
  for (int64_t k = 0; k < n; k++) {
    const sg_neuron neuron = {
        .keep_u = block->keep_u[k], .keep_v = block->keep_v[k], .threshold = block->threshold[k], .bias = block->bias[k],
        .keep_mask = reset == SG_ZERO ? 0 : -1, .sub_mask = reset == SG_SUBTRACT ? -1 : 0,
        .pause = pause, .max_spikes = max_spikes, .keep_bits = SG_KEEP_BITS,
    };
    sg_state state = {.v = block->v[k], .held = pauses ? block->held[k] : 0, .n_spikes = pauses ? block->n_spikes[k] : 0};
    state.u = sg_wrap24(sg_current(&neuron, block->u[k], block->x[k], 0));
    if (pauses) integrates[k] = state.held == 0;
    const sg_fired fired = sg_neuron_step(&neuron, &state, 0, 1, pauses);
    s[k] = (float)fired.s;
    v_before_reset[k] = (float)fired.v_before_reset;
    block->u[k] = state.u;
    block->v[k] = state.v;
    if (pauses) block->held[k] = state.held, block->n_spikes[k] = state.n_spikes;
  }
}

/* Whole numbers modulo 2^32: wrap24 asks for no more. */
SG_INLINE void whole_numbers(const float *restrict x, int64_t n, uint32_t *restrict to) {
  int wide = 0;
  for (int64_t k = 0; k < n; k++) wide |= !(x[k] < 2147483648.0f && x[k] > -2147483648.0f);
  if (wide)
    for (int64_t k = 0; k < n; k++) to[k] = (uint32_t)(int64_t)x[k];
  else
    for (int64_t k = 0; k < n; k++) to[k] = (uint32_t)(int32_t)x[k];
}

static int32_t clipped(float y, int32_t most) {
  return y > (float)most ? most : y < (float)-most ? -most : (int32_t)y;
}

/* Call `step` with constants for the reset and for whether neurons can pause, so that each has a loop of its own. */
#define SG_SPECIAL(step, ...)                                              \
  switch (w->reset * 2 + (w->integrates != 0)) {                           \
    case SG_ZERO * 2: step(__VA_ARGS__, SG_ZERO, 0); break;                \
    case SG_ZERO * 2 + 1: step(__VA_ARGS__, SG_ZERO, 1); break;            \
    case SG_SUBTRACT * 2: step(__VA_ARGS__, SG_SUBTRACT, 0); break;        \
    case SG_SUBTRACT * 2 + 1: step(__VA_ARGS__, SG_SUBTRACT, 1); break;    \
    case SG_NONE * 2: step(__VA_ARGS__, SG_NONE, 0); break;                \
    default: step(__VA_ARGS__, SG_NONE, 1);                                \
  }

static int32_t pause_of(const sg_window *w) {
  return (int32_t)w->refractory_steps - 1;
}

static int32_t most_spikes(const sg_window *w) {
  return w->max_spikes ? (int32_t)w->max_spikes : INT32_MAX;
}

SG_LEVELS static void forward_floats(const sg_window *w, int64_t first, int64_t n) {
  const int32_t pause = pause_of(w), max_spikes = most_spikes(w);
  float_block block;
  load(&w->threshold, first, n, block.threshold);
  load(&w->bias, first, n, block.bias);
  load(&w->kept_u, first, n, block.kept_u);
  load(&w->kept_v, first, n, block.kept_v);
  memset(block.u, 0, sizeof block.u);
  memset(block.v, 0, sizeof block.v);
  memset(block.held, 0, sizeof block.held);
  memset(block.n_spikes, 0, sizeof block.n_spikes);
  for (int64_t t = 0; t < w->n_steps; t++) {
    const int64_t at = t * w->n_neurons + first;
    uint8_t *integrates = w->integrates ? w->integrates + at : 0;
    const int64_t next = next_row(w, t, first, n, 1);
    expect(w->x + next, n);
    expect_to_write(w->s + next, n);
    expect_to_write(w->v_before_reset + next, n);
    SG_SPECIAL(float_step, &block, n, w->x + at, w->s + at, w->v_before_reset + at, integrates, pause, max_spikes)
    if (w->u) memcpy(w->u + at, block.u, (size_t)n * sizeof(float));
    if (w->v) memcpy(w->v + at, block.v, (size_t)n * sizeof(float));
  }
}

SG_LEVELS static void forward_integers(const sg_window *w, int64_t first, int64_t n) {
  const int32_t pause = pause_of(w), max_spikes = most_spikes(w);
  integer_block block;
  float values[SG_BLOCK];
  /* Beyond these ends a threshold or bias acts as at them: kept + u is below 2^25, v below 2^23. */
  load(&w->threshold, first, n, values);
  for (int64_t k = 0; k < n; k++) block.threshold[k] = clipped(values[k], 1 << 18) * (1 << SG_ALIGN_BITS);
  load(&w->bias, first, n, values);
  for (int64_t k = 0; k < n; k++) block.bias[k] = clipped(values[k], 1 << 26);
  load(&w->kept_u, first, n, values);
  for (int64_t k = 0; k < n; k++) block.keep_u[k] = (int32_t)values[k];
  load(&w->kept_v, first, n, values);
  for (int64_t k = 0; k < n; k++) block.keep_v[k] = (int32_t)values[k];
  memset(block.u, 0, sizeof block.u);
  memset(block.v, 0, sizeof block.v);
  memset(block.held, 0, sizeof block.held);
  memset(block.n_spikes, 0, sizeof block.n_spikes);
  for (int64_t t = 0; t < w->n_steps; t++) {
    const int64_t at = t * w->n_neurons + first;
    uint8_t *integrates = w->integrates ? w->integrates + at : 0;
    const int64_t next = next_row(w, t, first, n, 1);
    expect(w->x + next, n);
    expect_to_write(w->s + next, n);
    expect_to_write(w->v_before_reset + next, n);
    whole_numbers(w->x + at, n, block.x);
    SG_SPECIAL(integer_step, &block, n, w->s + at, w->v_before_reset + at, integrates, pause, max_spikes)
    if (w->u)
      for (int64_t k = 0; k < n; k++) w->u[at + k] = (float)block.u[k];
    if (w->v)
      for (int64_t k = 0; k < n; k++) w->v[at + k] = (float)block.v[k];
  }
}

/* ---- backward ---- */

typedef struct {
  float threshold[SG_BLOCK], inverse[SG_BLOCK], kept_u[SG_BLOCK], kept_v[SG_BLOCK];
  float carried_u[SG_BLOCK], carried_v[SG_BLOCK];
  float grad[SG_BLOCK]; /* with respect to v before reset */
  float grad_threshold[SG_BLOCK], grad_bias[SG_BLOCK], grad_kept_u[SG_BLOCK], grad_kept_v[SG_BLOCK];
} backward_block;

SG_INLINE float magnitude(float y) {
  return y < 0.0f ? -y : y;
}

SG_INLINE float surrogate_of(float z, int surrogate) {
  if (surrogate == SG_ARCTAN) {
    const float y = (float)3.14159265358979323846 * z;
    return 1.0f / (1.0f + y * y);
  }
  if (surrogate == SG_FAST_SIGMOID) {
    const float y = 1.0f + magnitude(4.0f * z);
    return 1.0f / (y * y);
  }
  const float y = 1.0f - magnitude(z);
  return y < 0.0f ? 0.0f : y;
}

SG_INLINE void through_spikes(backward_block *block, int64_t n, const float *restrict v, const float *restrict grad_s,
                              const uint8_t *restrict integrates, int surrogate, int pauses) {
  for (int64_t k = 0; k < n; k++) {
    const float inverse = block->inverse[k], z = (v[k] - block->threshold[k]) * inverse;
    float through = grad_s[k] * (surrogate_of(z, surrogate) * inverse);
    if (pauses) through *= (float)integrates[k];
    block->grad_threshold[k] -= through;
    block->grad[k] += through;
  }
}

SG_INLINE float left_of(float v, float threshold, int64_t reset) {
  const float fires = v > threshold ? 1.0f : 0.0f;
  return reset == SG_ZERO ? v * (1.0f - fires) : reset == SG_SUBTRACT ? v - fires * threshold : v;
}

SG_LEVELS static void backward(const sg_window *w, int64_t first, int64_t n) {
  const float gain = w->integer ? (float)(1 << SG_ALIGN_BITS) : 1.0f; /* x and threshold in units of v */
  backward_block block;
  load(&w->threshold, first, n, block.threshold);
  load(&w->kept_u, first, n, block.kept_u);
  load(&w->kept_v, first, n, block.kept_v);
  for (int64_t k = 0; k < n; k++) {
    block.threshold[k] *= gain;
    block.inverse[k] = 1.0f / block.threshold[k];
    block.carried_u[k] = block.carried_v[k] = 0.0f;
    block.grad_threshold[k] = block.grad_bias[k] = block.grad_kept_u[k] = block.grad_kept_v[k] = 0.0f;
  }
  for (int64_t t = w->n_steps - 1; t >= 0; t--) {
    const int64_t at = t * w->n_neurons + first, before = at - w->n_neurons;
    const float *restrict v = w->v_before_reset + at;
    const uint8_t *restrict integrates = w->integrates ? w->integrates + at : 0;
    const int64_t next = next_row(w, t, first, n, -1);
    expect(w->v_before_reset + next, n);
    if (w->grad_s) expect(w->grad_s + next, n);
    expect_to_write(w->grad_x + next, n);
    for (int64_t k = 0; k < n; k++) block.grad[k] = block.carried_v[k];
    if (w->reset == SG_ZERO)
      for (int64_t k = 0; k < n; k++) block.grad[k] *= 1.0f - (v[k] > block.threshold[k] ? 1.0f : 0.0f);
    if (w->grad_s) {
      const float *restrict grad_s = w->grad_s + at;
      switch (w->surrogate * 2 + (integrates != 0)) {
        case SG_ARCTAN * 2: through_spikes(&block, n, v, grad_s, integrates, SG_ARCTAN, 0); break;
        case SG_ARCTAN * 2 + 1: through_spikes(&block, n, v, grad_s, integrates, SG_ARCTAN, 1); break;
        case SG_FAST_SIGMOID * 2: through_spikes(&block, n, v, grad_s, integrates, SG_FAST_SIGMOID, 0); break;
        case SG_FAST_SIGMOID * 2 + 1: through_spikes(&block, n, v, grad_s, integrates, SG_FAST_SIGMOID, 1); break;
        case SG_TRIANGLE * 2: through_spikes(&block, n, v, grad_s, integrates, SG_TRIANGLE, 0); break;
        default: through_spikes(&block, n, v, grad_s, integrates, SG_TRIANGLE, 1);
      }
    }
    if (w->grad_v)
      for (int64_t k = 0; k < n; k++) block.grad[k] += w->grad_v[at + k];
    if (integrates)
      for (int64_t k = 0; k < n; k++) block.grad[k] *= (float)integrates[k];
    if (w->grad_kept_u && t > 0)
      for (int64_t k = 0; k < n; k++) block.grad_kept_u[k] += (block.grad[k] + block.carried_u[k]) * w->u[before + k];
    if (w->grad_kept_v && t > 0)
      for (int64_t k = 0; k < n; k++)
        block.grad_kept_v[k] += block.grad[k] * left_of(w->v_before_reset[before + k], block.threshold[k], w->reset);
    float *restrict grad_x = w->grad_x + at;
    for (int64_t k = 0; k < n; k++) {
      const float grad_u = block.grad[k] + block.carried_u[k];
      grad_x[k] = grad_u * gain;
      block.grad_bias[k] += block.grad[k];
      block.carried_u[k] = grad_u * block.kept_u[k];
      block.carried_v[k] = block.grad[k] * block.kept_v[k];
    }
  }
  if (w->grad_threshold)
    for (int64_t k = 0; k < n; k++) w->grad_threshold[first + k] = block.grad_threshold[k] * gain;
  if (w->grad_bias) memcpy(w->grad_bias + first, block.grad_bias, (size_t)n * sizeof(float));
  if (w->grad_kept_u) memcpy(w->grad_kept_u + first, block.grad_kept_u, (size_t)n * sizeof(float));
  if (w->grad_kept_v) memcpy(w->grad_kept_v + first, block.grad_kept_v, (size_t)n * sizeof(float));
}

/* ---- threads ---- */

static void work(void *window) {
  sg_window *w = window;
  for (;;) {
    const int64_t first = __atomic_fetch_add(&w->next_block, 1, __ATOMIC_RELAXED) * SG_BLOCK;
    if (first >= w->n_neurons) return;
    const int64_t n = w->n_neurons - first < SG_BLOCK ? w->n_neurons - first : SG_BLOCK;
    if (w->backward)
      backward(w, first, n);
    else if (w->integer)
      forward_integers(w, first, n);
    else
      forward_floats(w, first, n);
  }
}

void sg_window_run(sg_window *w) {
  const int64_t n_blocks = (w->n_neurons + SG_BLOCK - 1) / SG_BLOCK;
  const int64_t n_threads = w->n_threads < n_blocks ? w->n_threads : n_blocks;
  w->next_block = 0;
  if (w->team && n_threads > 1)
    w->team(work, w, (unsigned)n_threads, 0);
  else
    work(w);
}

int64_t sg_window_size(void) {
  return sizeof(sg_window);
}

#ifndef SPIKEGRAPH_PLAIN_LIBRARY
/* An importable module, so that every tool for packaging knows what this is; its functions are called with ctypes,
 * which releases the interpreter's lock. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_window", "The compiled part of the trainer's neurons.", -1,
                                    NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__window(void) { return PyModule_Create(&module); }
#endif
