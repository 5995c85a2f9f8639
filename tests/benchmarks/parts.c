/* The engine's inner loops by themselves, for bench_native.py: what is left when everything else takes no time. */
#ifndef SPIKEGRAPH_PLAIN_LIBRARY
#define SPIKEGRAPH_PLAIN_LIBRARY
#endif
#include "../../hwsim/_kernel.c"

/* Add rows of int8, as a dense layer does, with nothing else done. */
EXPORT void add_rows(int64_t chosen, const int8_t *weight, int64_t stride, const int32_t *index, int64_t n_events,
                     int32_t *sums) {
  const events in = {n_events, n_events, (int32_t *)(uintptr_t)index, NULL};
  const sg_projection p = {.kind = SG_DENSE8, .weight_bytes = 1, .weight = weight, .row_stride = stride};
  uint8_t awake[1] = {0};
  functions_of(chosen)->add_events(&p, &in, sums, 4, awake, 1);
}

typedef struct { /* the spikes of every source in every step: list l of source k begins at offsets[k * n_lists + l] */
  int64_t n_lists;
  const int64_t *offsets;
  int32_t *index;
} lists;

static events list_of(const lists *all, int64_t source, int64_t l) {
  const int64_t *offsets = all->offsets + source * all->n_lists + l, n = offsets[1] - offsets[0];
  const events e = {n, n, all->index + offsets[0], NULL};
  return e;
}

/* Add what the spikes reach. Nobody reads the sums: they may overflow. */
static void add(const sg_plan *plan, workspace *w, const level *f, const lists *all, int64_t l) {
  for (int64_t k = 0; k < plan->n_populations; k++) {
    const sg_population *p = &plan->populations[k];
    for (int64_t j = 0; j < p->n_projections; j++) {
      const events in = list_of(all, p->projections[j].source, l);
      f->add_events(&p->projections[j], &in, w->cells[k].sums, p->sum_bytes, w->cells[k].awake, rows_of(p->n));
    }
  }
}

/* Update every neuron. */
static void update(const sg_plan *plan, workspace *w, const level *f) {
  tally total = {0};
  for (int64_t k = 0; k < plan->n_populations; k++) {
    const sg_population *p = &plan->populations[k];
    const update_function each =
        p->general ? f->update_general : f->updates[p->sum_bytes == 4][4 * p->current + (p->may_hold ? 3 : p->each)];
    for (int64_t first = 0; first < p->n; first += SG_ROW) {
      const int64_t n = p->n - first < SG_ROW ? p->n - first : SG_ROW;
      each(p, &w->cells[k], first, first + (n + 31) / 32 * 32, &total);
    }
  }
}

/* Turn what every source has fired, bytes of inputs and bits of populations, into lists. */
static void list(const sg_plan *plan, const level *f, void **fired, events *out, int64_t l) {
  for (int64_t k = 0; k < plan->n_sources; k++) {
    const int64_t n = plan->sources[k].n, n_rows = rows_of(n);
    const char *of = (const char *)fired[k] + l * n_rows * SG_ROW;
    out->n = 0;
    if (k < plan->n_sources - plan->n_populations)
      f->append_input(out, (const uint8_t *)of, 0, n);
    else
      for (int64_t row = 0; row < n_rows; row++)
        f->append_fired(out, (const uint64_t *)of + row * SG_ROW / SG_WORD, row * SG_ROW,
                        n - row * SG_ROW < SG_ROW ? n - row * SG_ROW : SG_ROW);
  }
}

/* Run one part for every list, `times` over: 'a' adds, 'u' updates, 'l' lists. */
EXPORT int64_t run_part(const sg_plan *plan, int64_t part, int64_t n_lists, const int64_t *offsets, int32_t *index,
                        int64_t times) {
  const level *f = functions_of(plan->level);
  const lists all = {n_lists, offsets, index};
  workspace w;
  events out = {0};
  void **fired = calloc((size_t)plan->n_sources, sizeof *fired);
  int64_t failed = prepare(plan, &w) || !fired || reserve(&out, 1 << 24, 0);
  if (!failed) memset(w.state, 0, w.state_bytes);
  for (int64_t k = 0; !failed && k < plan->n_sources; k++) {
    const int64_t room = rows_of(plan->sources[k].n) * SG_ROW;
    uint8_t *bytes = fired[k] = calloc((size_t)(n_lists * room + 64), 1);
    if (!bytes) failed = 1;
    for (int64_t l = 0; !failed && l < n_lists; l++) {
      const events e = list_of(&all, k, l);
      for (int64_t i = 0; i < e.n; i++)
        if (k < plan->n_sources - plan->n_populations)
          bytes[l * room + e.index[i]] = 1;
        else
          ((uint64_t *)(bytes + l * room))[e.index[i] / SG_WORD] |= (uint64_t)1 << e.index[i] % SG_WORD;
    }
  }
  for (int64_t k = 0; !failed && k < times; k++)
    for (int64_t l = 0; l < n_lists; l++)
      if (part == 'a')
        add(plan, &w, f, &all, l);
      else if (part == 'u')
        update(plan, &w, f);
      else
        list(plan, f, fired, &out, l);
  for (int64_t k = 0; fired && k < plan->n_sources; k++) free(fired[k]);
  free(fired);
  free(out.index);
  release(plan, &w);
  return failed;
}
