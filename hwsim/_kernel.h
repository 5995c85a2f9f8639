/* What plan.py and native.py hand to the kernel; kernel.py mirrors these structures with ctypes, field by field.
 * Every field has 8 bytes. */
#ifndef SPIKEGRAPH_KERNEL_H
#define SPIKEGRAPH_KERNEL_H

#include <stdint.h>

enum { SG_DENSE8, SG_ROWS, SG_WINDOW, SG_PATCH, SG_SPARSE }; /* how the weights of a projection lie */
enum { SG_UINT8, SG_INT8, SG_INT16 };                  /* dtype of a raster */
enum { SG_NO_MEMORY = -1, SG_NOT_BINARY = 1 };        /* why a run failed */
enum { SG_BASELINE, SG_AVX2, SG_AVX512 };              /* vector instructions */

typedef struct { /* an input or a population: something that spikes */
  int64_t n;
  int64_t ring;         /* steps of spikes that are kept: the longest delay that leaves it, plus 1 */
  int64_t graded;       /* its spikes carry values */
  int64_t raster_type;
  const void *raster;   /* inputs: (n_steps, n_samples, n); NULL for populations and for inputs that come as events */
  const int64_t *offsets; /* inputs as events: those of a sample's step begin at [sample * n_steps + step]; else NULL */
  const int32_t *index, *value;
  int64_t spikes_slot;  /* where its spikes are counted */
} sg_source;

typedef struct { /* Rows of a source neuron are contiguous. Indices of neurons are the kernel's own. */
  int64_t kind, source, delay, exponent;
  int64_t weight_bytes;
  const void *weight;
  int64_t row_stride;       /* DENSE8, ROWS: elements from one source neuron to the next; PATCH: from row to row */
  int64_t target_stride;    /* PATCH: targets from one row of a patch to the next */
  const int32_t *site;      /* per source neuron; WINDOW: (row, column, weight offset, target offset),
                               PATCH: (patch, weight offset) */
  const int32_t *patches;   /* PATCH: (first target, rows, targets of a row) */
  const int32_t *rows_ptr, *rows; /* WINDOW: per source row, pairs (target offset, weight offset) */
  const int32_t *runs_ptr, *runs; /* WINDOW: per source column, triples (target offset, weight offset, length) */
  const int64_t *row_begin, *row_end; /* SPARSE: per source neuron; rows lie in any order */
  const int32_t *indices;   /* SPARSE: target of each synapse */
  const int32_t *fan_out, *effective; /* per source neuron; NULL if all are alike */
  int64_t fan_out_each, effective_each;
  int64_t sops_slot, effective_slot;
  const int64_t *tally_ptr; /* what a spike of each source neuron adds in which slot: see tally.py; NULL if nothing */
  const int32_t *tally;     /* pairs (slot, amount) */
} sg_projection;

typedef struct {
  int64_t n, source, start_step;
  int64_t sum_bytes;     /* width of the sums: 2, 4 or 8 */
  int64_t general;       /* x is summed in 64 bits and everything may happen; also where a trace is kept */
  int64_t exponent;      /* of all its projections, unless general */
  int64_t current, may_hold, biased;
  int64_t each;          /* parameters differ between neurons, or x is shifted */
  int64_t small_most;    /* u and v up to this are small, and nothing wraps or saturates in the next step; or -1 */
  int64_t unit_bits;     /* keep_u and keep_v are multiples of 2^unit_bits */
  const int32_t *keep_u, *keep_v, *threshold, *bias; /* padded to a multiple of 32 by neurons that stay 0 */
  int64_t keep_mask, sub_mask, pause, max_spikes;
  int64_t n_projections;
  const sg_projection *projections;
  int64_t active_slot, wraps_slot, saturations_slot;
  const int64_t *tally_ptr; /* what a spike of each neuron adds, as in sg_projection */
  const int32_t *tally;
  int64_t n_runs;          /* neurons in a row whose active updates count in the same slot; 0 if nobody asks */
  const int32_t *runs;     /* pairs (end, slot) */
  int64_t *trace_x;      /* (n_steps, n_samples, n) each, or NULL */
  int32_t *trace_u, *trace_v, *trace_before;
  uint8_t *trace_s;
} sg_population;

typedef struct {
  int64_t n_steps, n_total, n_samples;
  int64_t n_sources, n_populations, n_slots, level;
  const sg_source *sources;
  const sg_population *populations;
  int64_t *counts;       /* (n_samples, n_slots, n_steps) */
  int64_t next_sample;   /* shared by all threads */
  int64_t cancel;        /* set to stop after the step at hand */
  int64_t n_decides;
  const int64_t *decides; /* the populations of which the first spike ends a sample; none: it ends with the window */
} sg_plan;

#endif
