/* The native engine: samples one after the other, each step by step, populations in the order of the program.
 * Work follows spikes: a spike adds its row to the sums of its targets; neurons at rest that got no input are skipped.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "_kernel.h"
#include "neuron.h"

#define SG_ROW 256   /* neurons that fall asleep and wake together */
#define SG_WORD 64   /* neurons whose spikes are the bits of a word */
enum { SG_FIRED, SG_LEFT, SG_GIVEN }; /* flags of a neuron, by bit: it fired, u or v is not 0 after the step, x was not */
#define SG_PAD 64    /* every array of neurons is longer than the population by up to this */

typedef struct { /* the spikes of one source in one step */
  int64_t n, capacity;
  int32_t *index, *value;
} events;

typedef struct { /* the neurons of one population, one sample */
  void *sums;
  int64_t *x, *trace_x;
  int32_t *u, *v, *held, *n_spikes, *before_reset;
  uint64_t *busy; /* a bit for each neuron: u or v is not 0 */
  uint8_t *awake; /* per row: input came, or something is left that needs an update without input */
  int32_t *most;  /* per row: no |u| and no |v| is larger */
} cells;

typedef struct {
  int64_t active, spikes, wraps, saturations;
  /* of the last row that was updated: */
  uint64_t fired[SG_ROW / SG_WORD], was_active[SG_ROW / SG_WORD]; /* a bit for each neuron */
  int32_t most; /* the largest |u| and |v|, or more */
  int rest;     /* whether anything is left that needs an update without input */
} tally;

typedef void (*update_function)(const sg_population *, cells *, int64_t, int64_t, tally *);

typedef struct {
  int64_t (*add_events)(const sg_projection *, const events *, void *, int64_t, uint8_t *, int64_t);
  int (*append_input)(events *, const uint8_t *, int64_t, int64_t);
  void (*append_fired)(events *, const uint64_t *, int64_t, int64_t);
  const update_function (*updates)[8];
  update_function update_general;
  void (*fold)(void *, int64_t, int64_t, int64_t, int64_t *);
} level;

/* Inner loops keep their registers to themselves. */
#define APART __attribute__((noinline))

/* Before a loop over neurons: no two of its arrays overlap, though a compiler cannot see it. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* A loop that looks numbers up: gcc would pack them into vectors, which costs more than it saves. */
#if defined(__clang__)
#define LOOKUPS
#else
#define LOOKUPS __attribute__((optimize("no-tree-vectorize")))
#endif

LOOKUPS static int64_t summed(const events *e, const int32_t *each, int64_t alike) {
  if (!each) return e->n * alike;
  int64_t even = 0, odd = 0; /* apart, so that additions need not wait for each other */
  int64_t k = 0;
  for (; k + 2 <= e->n; k += 2) {
    even += each[e->index[k]];
    odd += each[e->index[k + 1]];
  }
  return even + odd + (k < e->n ? each[e->index[k]] : 0);
}

#define LEVEL(name) name##_baseline
#define TARGET
#define LANES 8
#define BLOCK 8
#include "_kernel_level.h"
#undef LEVEL
#undef TARGET
#undef LANES
#undef BLOCK

#if defined(__x86_64__)
#define LEVEL(name) name##_avx2
#define TARGET __attribute__((target("avx2,bmi,popcnt")))
#define LANES 16
#define BLOCK 8
#include "_kernel_level.h"
#undef LEVEL
#undef TARGET
#undef LANES
#undef BLOCK

#define LEVEL(name) name##_avx512
#if defined(__clang__)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,bmi,popcnt")))
#else
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,bmi,popcnt,prefer-vector-width=512")))
#endif
#define LANES 32
#define BLOCK 16
#include "_kernel_level.h"
#undef LEVEL
#undef TARGET
#undef LANES
#undef BLOCK
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* The best level of this processor. */
EXPORT int64_t sg_level(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vbmi2"))
    return SG_AVX512;
  if (__builtin_cpu_supports("avx2")) return SG_AVX2;
#endif
  return SG_BASELINE;
}

static const level *functions_of(int64_t chosen) {
#if defined(__x86_64__)
  if (chosen == SG_AVX512) return &functions_avx512;
  if (chosen == SG_AVX2) return &functions_avx2;
#endif
  (void)chosen;
  return &functions_baseline;
}

/* Sizes of the structures: kernel.py refuses a kernel that was built from another version of _kernel.h. */
EXPORT void sg_sizes(int64_t *sizes) {
  sizes[0] = sizeof(sg_source);
  sizes[1] = sizeof(sg_projection);
  sizes[2] = sizeof(sg_population);
  sizes[3] = sizeof(sg_plan);
}

typedef struct {
  events **rings;    /* per source, per slot of its ring */
  cells *cells;      /* per population */
  void *state;       /* one block with the state of all populations, cleared before each sample */
  size_t state_bytes;
  int64_t *counts;   /* of the sample at hand: they are written in each step, and so must stay in the cache */
  size_t counts_bytes;
} workspace;

static size_t padded(int64_t n) { return ((size_t)n + SG_PAD - 1) / SG_PAD * SG_PAD + SG_PAD; }

static int64_t rows_of(int64_t n) { return (n + SG_ROW - 1) / SG_ROW; }

/* Lay out the state of every population from `base` on; return its size. */
static size_t lay_out(const sg_plan *plan, workspace *w, char *base) {
  size_t at = 0;
  for (int64_t k = 0; k < plan->n_populations; k++) {
    const sg_population *p = &plan->populations[k];
    cells *c = &w->cells[k];
    const size_t n = padded(p->n);
#define FIELD(field, bytes)                                   \
  c->field = base ? (void *)(base + at) : NULL;               \
  at += ((size_t)(bytes) + 63) / 64 * 64
    FIELD(sums, n * (size_t)p->sum_bytes);
    FIELD(x, p->general ? n * 8 : 0);
    FIELD(trace_x, p->general ? n * 8 : 0);
    FIELD(before_reset, p->general ? n * 4 : 0);
    FIELD(u, p->general || p->current ? n * 4 : 0);
    FIELD(v, n * 4);
    FIELD(held, p->general || p->may_hold ? n * 4 : 0);
    FIELD(n_spikes, p->general || p->may_hold ? n * 4 : 0);
    FIELD(busy, n / 8);
    FIELD(awake, padded(rows_of(p->n)));
    FIELD(most, padded(rows_of(p->n)) * 4);
#undef FIELD
  }
  return at;
}

static void release(const sg_plan *plan, workspace *w) {
  if (w->rings)
    for (int64_t k = 0; k < plan->n_sources; k++) {
      if (w->rings[k])
        for (int64_t slot = 0; slot < plan->sources[k].ring; slot++) {
          free(w->rings[k][slot].index);
          free(w->rings[k][slot].value);
        }
      free(w->rings[k]);
    }
  free(w->rings);
  free(w->cells);
  free(w->state);
  free(w->counts);
  memset(w, 0, sizeof *w);
}

static int prepare(const sg_plan *plan, workspace *w) {
  memset(w, 0, sizeof *w);
  w->rings = calloc((size_t)plan->n_sources, sizeof *w->rings);
  w->cells = calloc((size_t)plan->n_populations, sizeof *w->cells);
  w->counts_bytes = (size_t)(plan->n_slots * plan->n_steps) * sizeof *w->counts;
  w->counts = malloc(w->counts_bytes);
  if (!w->rings || !w->cells || !w->counts) return SG_NO_MEMORY;
  for (int64_t k = 0; k < plan->n_sources; k++) {
    w->rings[k] = calloc((size_t)plan->sources[k].ring, sizeof **w->rings);
    if (!w->rings[k]) return SG_NO_MEMORY;
  }
  w->state_bytes = lay_out(plan, w, NULL);
  if (posix_memalign(&w->state, 64, w->state_bytes + 64)) {
    w->state = NULL;
    return SG_NO_MEMORY;
  }
  lay_out(plan, w, w->state);
  return 0;
}

/* Make room for n more spikes. */
static int reserve(events *e, int64_t n, int graded) {
  if (e->n + n <= e->capacity) return 0;
  const int64_t capacity = (e->n + n) * 3 / 2 + 64;
  int32_t *index = realloc(e->index, (size_t)capacity * sizeof *index);
  if (!index) return SG_NO_MEMORY;
  e->index = index;
  if (graded) {
    int32_t *value = realloc(e->value, (size_t)capacity * sizeof *value);
    if (!value) return SG_NO_MEMORY;
    e->value = value;
  }
  e->capacity = capacity;
  return 0;
}

/* Copied, so that a list of spikes always has room behind it, wherever it came from. */
static int copy_events(const sg_source *s, events *e, int64_t at) {
  const int64_t first = s->offsets[at], n = s->offsets[at + 1] - first;
  if (reserve(e, n + 16, (int)s->graded)) return SG_NO_MEMORY;
  memcpy(e->index, s->index + first, (size_t)n * sizeof *e->index);
  if (s->graded) memcpy(e->value, s->value + first, (size_t)n * sizeof *e->value);
  e->n = n;
  return 0;
}

static int read_raster(const level *f, const sg_source *s, events *e, int64_t offset) {
  if (reserve(e, s->n + 16, (int)s->graded)) return SG_NO_MEMORY;
  if (!s->graded) {
    if (s->raster_type != SG_INT16)
      return f->append_input(e, (const uint8_t *)s->raster + offset, 0, s->n) ? 0 : SG_NOT_BINARY;
  }
  for (int64_t i = 0; i < s->n; i++) {
    const int32_t value = s->raster_type == SG_UINT8  ? ((const uint8_t *)s->raster)[offset + i]
                          : s->raster_type == SG_INT8 ? ((const int8_t *)s->raster)[offset + i]
                                                      : ((const int16_t *)s->raster)[offset + i];
    if (value) {
      e->index[e->n] = (int32_t)i;
      if (s->graded) e->value[e->n] = value;
      e->n++;
    }
  }
  return 0;
}

static int read_input(const sg_plan *plan, const level *f, const sg_source *s, events *e, int64_t t, int64_t sample) {
  if (s->offsets) return copy_events(s, e, sample * plan->n_steps + t);
  const int64_t bytes = s->raster_type == SG_INT16 ? 2 : 1, offset = (t * plan->n_samples + sample) * s->n;
  if (t + 1 < plan->n_steps)
    for (int64_t i = 0; i < s->n * bytes; i += 64)
      __builtin_prefetch((const char *)s->raster + (offset + plan->n_samples * s->n) * bytes + i);
  return read_raster(f, s, e, offset);
}

/* What spikes add to counts that are finer than a node's. */
static void tally_spikes(const events *e, const int64_t *ptr, const int32_t *pairs, int64_t n_steps, int64_t *counts) {
  if (!ptr) return;
  for (int64_t k = 0; k < e->n; k++)
    for (int64_t at = ptr[e->index[k]]; at < ptr[e->index[k] + 1]; at++)
      counts[pairs[2 * at] * n_steps] += pairs[2 * at + 1];
}

/* The same for the active updates of neurons first … last - 1; returns the run to go on with. */
static int64_t tally_active(const sg_population *p, const tally *row, int64_t run, int64_t first, int64_t last,
                            int64_t n_steps, int64_t *counts) {
  const int64_t begin = first;
  while (run < p->n_runs && p->runs[2 * run] <= first) run++;
  for (; run < p->n_runs; run++) {
    const int64_t end = p->runs[2 * run] < last ? p->runs[2 * run] : last;
    int64_t active = 0;
    for (int64_t i = first; i < end; i++) active += row->was_active[(i - begin) / SG_WORD] >> (i - begin) % SG_WORD & 1;
    counts[p->runs[2 * run + 1] * n_steps] += active;
    first = end;
    if (p->runs[2 * run] >= last) break;
  }
  return run;
}

/* The spikes of a source in step t. */
static events *spikes_of(const sg_plan *plan, const workspace *w, int64_t source, int64_t t) {
  const int64_t ring = plan->sources[source].ring;
  return &w->rings[source][ring == 1 ? 0 : t % ring]; /* most have no delay, and a division takes long */
}

static void copy_trace(const sg_population *p, const cells *c, const tally *row, int64_t from, size_t n, int64_t to) {
  memcpy(p->trace_x + to, c->trace_x + from, n * 8);
  memcpy(p->trace_u + to, c->u + from, n * 4);
  memcpy(p->trace_v + to, c->v + from, n * 4);
  memcpy(p->trace_before + to, c->before_reset + from, n * 4);
  for (size_t k = 0; k < n; k++) p->trace_s[to + (int64_t)k] = row->fired[k / SG_WORD] >> k % SG_WORD & 1;
}

static int step_population(const sg_plan *plan, workspace *w, const level *f, int64_t k, int64_t t, int64_t sample,
                           int64_t *counts) {
  const sg_population *p = &plan->populations[k];
  cells *c = &w->cells[k];
  const sg_source *self = &plan->sources[p->source];
  events *out = spikes_of(plan, w, p->source, t);
  const int64_t step = t - p->start_step, n_rows = rows_of(p->n);
  out->n = 0;
  if (step < 0 || step >= plan->n_steps) return 0;
#define COUNT(slot) counts[(slot)*plan->n_steps + step]

  for (int64_t j = 0; j < p->n_projections; j++) {
    const sg_projection *q = &p->projections[j];
    const int64_t arrives = t - q->delay;
    if (arrives < 0) continue;
    const events *in = spikes_of(plan, w, q->source, arrives);
    if (!in->n) continue;
    COUNT(q->sops_slot) = summed(in, q->fan_out, q->fan_out_each);
    tally_spikes(in, q->tally_ptr, q->tally, plan->n_steps, counts + step);
    COUNT(q->effective_slot) = f->add_events(q, in, c->sums, p->sum_bytes, c->awake, n_rows);
    /* Each projection is shifted by its own exponent. */
    if (p->general) f->fold(c->sums, p->sum_bytes, q->exponent, (p->n + 31) / 32 * 32, c->x);
  }

  tally total = {0};
  int64_t run = 0;
  for (int64_t row = 0; row < n_rows; row++) {
    if (!c->awake[row] && !p->biased) continue;
    const int64_t first = row * SG_ROW, last = first + SG_ROW < p->n ? first + SG_ROW : p->n;
    const int64_t before = total.spikes;
    const int64_t what = p->may_hold ? 3 : c->most[row] > p->small_most ? 2 : p->each;
    const update_function update =
        p->general ? f->update_general : f->updates[p->sum_bytes == 4][4 * p->current + what];
    update(p, c, first, first + (last - first + 31) / 32 * 32, &total);
    c->awake[row] = total.rest != 0;
    c->most[row] = total.most;
    run = tally_active(p, &total, run, first, last, plan->n_steps, counts + step);
    if (p->trace_x)
      copy_trace(p, c, &total, first, (size_t)(last - first), (step * plan->n_samples + sample) * p->n + first);
    if (reserve(out, total.spikes - before + 16, 0)) return SG_NO_MEMORY;
    f->append_fired(out, total.fired, first, last - first);
  }
  tally_spikes(out, p->tally_ptr, p->tally, plan->n_steps, counts + step);
  COUNT(self->spikes_slot) = total.spikes;
  COUNT(p->active_slot) = total.active;
  COUNT(p->wraps_slot) = total.wraps;
  COUNT(p->saturations_slot) = total.saturations;
#undef COUNT
  return 0;
}

/* Where a sample ends whose output fires in this step: once every population, in its own time, has come as far. Of
 * several outputs a deeper one may still fire, and in an earlier step of its own: then it ends sooner. */
static int64_t end_of_sample(const sg_plan *plan, const workspace *w, int64_t t, int64_t n_total) {
  const int64_t latest_start = plan->n_total - plan->n_steps;
  for (int64_t k = 0; k < plan->n_decides; k++) {
    const sg_population *p = &plan->populations[plan->decides[k]];
    const int64_t end = t - p->start_step + 1 + latest_start;
    if (w->rings[p->source][t % plan->sources[p->source].ring].n && end < n_total) n_total = end;
  }
  return n_total;
}

static int run_sample(const sg_plan *plan, workspace *w, const level *f, int64_t sample) {
  int64_t *counts = w->counts;
  memset(counts, 0, w->counts_bytes);
  memset(w->state, 0, w->state_bytes);
  for (int64_t k = 0; k < plan->n_sources; k++)
    for (int64_t slot = 0; slot < plan->sources[k].ring; slot++) w->rings[k][slot].n = 0;
  int64_t n_total = plan->n_total;
  for (int64_t t = 0; t < n_total && !__atomic_load_n(&plan->cancel, __ATOMIC_RELAXED); t++) {
    for (int64_t k = 0; k < plan->n_sources; k++) {
      const sg_source *s = &plan->sources[k];
      if (!s->raster && !s->offsets) continue;
      events *e = spikes_of(plan, w, k, t);
      e->n = 0;
      if (t >= plan->n_steps) continue;
      const int failed = read_input(plan, f, s, e, t, sample);
      if (failed) return failed;
      counts[s->spikes_slot * plan->n_steps + t] = e->n;
    }
    for (int64_t k = 0; k < plan->n_populations; k++)
      if (step_population(plan, w, f, k, t, sample, counts)) return SG_NO_MEMORY;
    n_total = end_of_sample(plan, w, t, n_total);
  }
  memcpy(plan->counts + sample * plan->n_slots * plan->n_steps, counts, w->counts_bytes);
  return 0;
}

/* Run samples until none is left; several threads may run the same plan. 0, or why it failed. */
EXPORT int64_t sg_run(sg_plan *plan) {
  workspace w;
  int64_t failed = 0;
  const level *f = functions_of(plan->level);
  if (prepare(plan, &w)) failed = SG_NO_MEMORY;
  while (!failed && !__atomic_load_n(&plan->cancel, __ATOMIC_RELAXED)) {
    const int64_t sample = __atomic_fetch_add(&plan->next_sample, 1, __ATOMIC_RELAXED);
    if (sample >= plan->n_samples) break;
    failed = run_sample(plan, &w, f, sample);
  }
  release(plan, &w);
  return failed;
}

#ifndef SPIKEGRAPH_PLAIN_LIBRARY
/* An importable module, so that every tool for packaging knows what this is; its functions are called with ctypes,
 * which releases the interpreter's lock. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernel", "The compiled part of the native engine.", -1, NULL,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&module); }
#endif
