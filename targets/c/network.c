/* The engine: one step of the network from its tables, spike by spike. Arithmetic of neurons is neuron.h's.
 *
 * Input sums are added up modulo 2^32, which is exact however large they grow: u keeps the low 24 bits of x << 6, so only
 * the low 18 bits of x matter. A shift to the left carries those of the sum into them, a shift to the right by at most
 * 8 needs the low 26.
 */
#include "network.h"

#include <stddef.h>
#include <string.h>

#include "neuron.h"

typedef NETWORK_OFFSET offset; /* into synapses, or among the targets of one spike */

enum { DENSE, WINDOW, SPARSE, ONE_TO_ONE };
enum { NO_READOUT, COUNT, MEMBRANE, FIRST_SPIKE };

typedef struct { /* one kernel row or column that a source row or column meets */
  offset target, weight;
} tap;

typedef struct { /* an input or a population; its spikes of step t are in slot t % n_slots */
  uint32_t n, n_words, n_slots;
  uint32_t first_word, first_value;
  uint32_t graded;
} source;

typedef struct {
  uint32_t first_line, source;
  int32_t min_value, max_value;
} input;

typedef struct {
  uint32_t kind, source, delay;
  uint32_t left, right; /* how its sum is shifted; to the right, with a sum of its own */
  uint32_t apart;       /* that sum cannot be the population's own */
  uint32_t weight_bytes;
  const void *weight;
  uint32_t run;   /* weights that follow each other; DENSE: of a source neuron; WINDOW: of a tap; ONE_TO_ONE: neurons a weight */
  uint32_t plane; /* WINDOW: targets from channel to channel */
  uint32_t width, area;                 /* WINDOW: of a source channel */
  uint32_t group, channel_weights;      /* WINDOW: source channels of a group; weights of a source channel */
  const offset *row_begin, *column_begin; /* WINDOW: taps of a row, of a column; SPARSE: synapses of a neuron */
  const tap *rows, *columns;
  const network_index *targets; /* SPARSE */
} projection;

typedef struct { /* a parameter: each value times 2^shift */
  const void *value;
  uint32_t bytes, shift;
  uint32_t per_channel, per_neuron;
} parameter;

typedef struct {
  uint32_t n_channels, area, source;
  uint32_t first_neuron, first_current, first_held, first_counted;
  uint32_t remembers, holds, counts, read; /* its u outlasts the step; it may be held; its spikes are limited; it is read */
  uint32_t left;                   /* shift of the whole sum */
  uint32_t first_projection, n_projections;
  parameter keep_u, keep_v, threshold, bias;
  int32_t keep_mask, sub_mask, pause, max_spikes;
} population;

typedef struct {
  uint32_t population, of_spikes;
} output;

typedef struct {
  uint32_t population, per_class, weight;
} reading;

#include "tables.h"

/* The place of the lowest bit that is set. */
static uint32_t lowest(uint32_t bits) {
#if defined(__GNUC__) && defined(__UINT32_MAX__) && __UINT32_MAX__ == __UINT_MAX__
  return (uint32_t)__builtin_ctz(bits);
#else
  uint32_t place = 0;
  while (!(bits >> place & 1)) place++;
  return place;
#endif
}

static void add8(uint32_t *restrict x, uint32_t stride, const int8_t *restrict weight, uint32_t n, uint32_t value) {
  uint32_t i;
  if (stride == 1 && value == 1) {
    for (i = 0; i < n; i++) {
      const uint32_t w = (uint32_t)weight[i];
      x[i] += w;
    }
  } else {
    for (i = 0; i < n; i++) x[i * stride] += (uint32_t)weight[i] * value;
  }
}

static void add16(uint32_t *restrict x, uint32_t stride, const int16_t *restrict weight, uint32_t n, uint32_t value) {
  uint32_t i;
  if (stride == 1 && value == 1) {
    for (i = 0; i < n; i++) {
      const uint32_t w = (uint32_t)weight[i];
      x[i] += w;
    }
  } else {
    for (i = 0; i < n; i++) x[i * stride] += (uint32_t)weight[i] * value;
  }
}

/* x[i · stride] += value · weight[first + i], for n neighbouring weights. */
static void add(const projection *p, uint32_t *x, uint32_t stride, size_t first, uint32_t n, uint32_t value) {
  if (NETWORK_HAS_WEIGHT8 && p->weight_bytes == 1) {
    add8(x, stride, (const int8_t *)p->weight + first, n, value);
  } else if (NETWORK_HAS_WEIGHT16) {
    add16(x, stride, (const int16_t *)p->weight + first, n, value);
  }
}

static void add_window(const projection *p, uint32_t *x, uint32_t j, uint32_t value) {
  const uint32_t channel = j / p->area, row = j % p->area / p->width, column = j % p->width;
  const size_t weight = (size_t)channel * p->channel_weights;
  const tap *r, *c;
  x += (size_t)(channel / p->group) * p->run * p->plane;
  for (r = p->rows + p->row_begin[row]; r < p->rows + p->row_begin[row + 1]; r++) {
    for (c = p->columns + p->column_begin[column]; c < p->columns + p->column_begin[column + 1]; c++) {
      add(p, x + r->target + c->target, p->plane, weight + r->weight + c->weight, p->run, value);
    }
  }
}

static uint32_t weight_at(const projection *p, uint32_t k) {
  return NETWORK_HAS_WEIGHT8 && p->weight_bytes == 1 ? (uint32_t)((const int8_t *)p->weight)[k]
                                                     : (uint32_t)((const int16_t *)p->weight)[k];
}

static void add_sparse(const projection *p, uint32_t *x, uint32_t j, uint32_t value) {
  uint32_t k;
  for (k = p->row_begin[j]; k < p->row_begin[j + 1]; k++) x[p->targets[k]] += weight_at(p, k) * value;
}

/* What a spike of source neuron j adds to the sums. */
static void deliver(const projection *p, uint32_t *x, uint32_t j, uint32_t value) {
  if (NETWORK_HAS_DENSE && p->kind == DENSE) {
    add(p, x, 1, (size_t)j * p->run, p->run, value);
  } else if (NETWORK_HAS_WINDOW && p->kind == WINDOW) {
    add_window(p, x, j, value);
  } else if (NETWORK_HAS_SPARSE && p->kind == SPARSE) {
    add_sparse(p, x, j, value);
  } else if (NETWORK_HAS_ONE_TO_ONE) {
    x[j] += weight_at(p, j / p->run) * value;
  }
}

static uint32_t *spikes_of(network_net *net, const source *s, uint32_t t) {
  return net->spikes + s->first_word + (s->n_slots == 1 ? 0 : t % s->n_slots * s->n_words);
}

static int16_t *values_of(network_net *net, const source *s, uint32_t t) {
  return net->values + s->first_value + (s->n_slots == 1 ? 0 : t % s->n_slots * s->n);
}

/* Add what arrives through a projection in this step. */
static void add_arriving(network_net *net, const projection *p, uint32_t *x) {
  const source *s = &sources[p->source];
  const uint32_t *spikes;
  const int16_t *values = NULL;
  uint32_t w, bits;
  if (net->t < p->delay) return;
  spikes = spikes_of(net, s, net->t - p->delay);
  if (NETWORK_HAS_GRADED && s->graded) values = values_of(net, s, net->t - p->delay);
  for (w = 0; w < s->n_words; w++) {
    for (bits = spikes[w]; bits; bits &= bits - 1) {
      const uint32_t j = w * 32 + lowest(bits);
      const uint32_t value = NETWORK_HAS_GRADED && s->graded ? (uint32_t)values[j] : 1;
      deliver(p, x, j, value << p->left);
    }
  }
}

/* The input sums of a population; projections that are shifted to the right come first. */
static void add_inputs(network_net *net, const population *p) {
  const uint32_t n = p->n_channels * p->area;
  const projection *q = projections + p->first_projection;
  uint32_t k, i;
  memset(net->x, 0, n * sizeof net->x[0]);
  for (k = 0; k < p->n_projections; k++, q++) {
    if (NETWORK_HAS_APART && q->apart) {
      memset(net->apart, 0, n * sizeof net->apart[0]);
      add_arriving(net, q, net->apart);
      for (i = 0; i < n; i++) net->x[i] += net->apart[i] >> q->right;
    } else {
      add_arriving(net, q, net->x);
      if (NETWORK_HAS_RIGHT && q->right) {
        for (i = 0; i < n; i++) net->x[i] >>= q->right;
      }
    }
  }
}

static int32_t value_of(const parameter *p, uint32_t i) {
  const int32_t value = p->bytes == 2 ? ((const int16_t *)p->value)[i] : ((const int32_t *)p->value)[i];
  return value * ((int32_t)1 << p->shift);
}

/* Update the neurons of a population, and leave their v before reset in x. */
static void update(network_net *net, const population *p) {
  const int holds = NETWORK_HAS_HOLD && p->holds, counts = NETWORK_HAS_HOLD && p->counts;
  uint32_t *spikes = spikes_of(net, &sources[p->source], net->t);
  int32_t *v = net->v + p->first_neuron, *u = net->u + p->first_current;
  int32_t *held = net->held + p->first_held, *n_spikes = net->n_spikes + p->first_counted;
  uint32_t channel, k, i = 0;
  sg_neuron neuron;
  memset(&neuron, 0, sizeof neuron);
  memset(spikes, 0, sources[p->source].n_words * sizeof *spikes);
  neuron.keep_mask = p->keep_mask;
  neuron.sub_mask = p->sub_mask;
  neuron.pause = p->pause;
  neuron.max_spikes = p->max_spikes;
  for (channel = 0; channel < p->n_channels; channel++) {
    neuron.keep_u = value_of(&p->keep_u, p->keep_u.per_channel * channel);
    neuron.keep_v = value_of(&p->keep_v, p->keep_v.per_channel * channel);
    neuron.threshold = value_of(&p->threshold, p->threshold.per_channel * channel);
    neuron.bias = value_of(&p->bias, p->bias.per_channel * channel);
    for (k = 0; k < p->area; k++, i++) {
      sg_state state = {0, 0, 0, 0};
      sg_fired fired;
      uint32_t sum = net->x[i] << p->left;
      if (p->keep_u.per_neuron) neuron.keep_u = value_of(&p->keep_u, i);
      if (p->keep_v.per_neuron) neuron.keep_v = value_of(&p->keep_v, i);
      if (p->threshold.per_neuron) neuron.threshold = value_of(&p->threshold, i);
      if (p->bias.per_neuron) neuron.bias = value_of(&p->bias, i);
      if (NETWORK_HAS_CURRENT && p->remembers) {
        sum = sg_current(&neuron, u[i], sum, 0);
        state.u = u[i] = sg_wrap24(sum);
      } else {
        state.u = sg_wrap24(sum << SG_ALIGN_BITS);
      }
      state.v = v[i];
      if (holds) state.held = held[i];
      if (counts) state.n_spikes = n_spikes[i];
      fired = sg_neuron_step(&neuron, &state, 0, 1, holds);
      v[i] = state.v;
      if (holds) held[i] = state.held;
      if (counts) n_spikes[i] = state.n_spikes;
      if (fired.s) spikes[i >> 5] |= (uint32_t)1 << (i & 31);
      net->x[i] = (uint32_t)fired.v_before_reset;
#ifdef SG_TRACE
      network_trace((uint32_t)(p - populations), i, fired.s, state.u, state.v);
#endif
    }
  }
}

#if NETWORK_READOUT
/* y modulo 2^32 as a number of either sign. */
static int32_t as_signed(uint32_t y) {
  return y <= INT32_MAX ? (int32_t)y : -(int32_t)(UINT32_MAX - y) - 1;
}

/* Add up what the neurons of a population that was just updated say of the classes. */
static void read_population(network_net *net, uint32_t at) {
  const uint32_t *spikes = spikes_of(net, &sources[populations[at].source], net->t);
  uint32_t k, c, m, i;
  for (k = 0; k < NETWORK_N_READ; k++) {
    if (readings[k].population != at) continue;
    for (c = 0, i = 0; c < NETWORK_N_CLASSES; c++) {
      for (m = 0; m < readings[k].per_class; m++, i++) {
        if (NETWORK_READOUT != MEMBRANE && (spikes[i >> 5] >> (i & 31) & 1)) net->score[c] += (network_score)readings[k].weight;
        net->potential[k][c] += as_signed(net->x[i]);
      }
    }
  }
}

/* Forget what counts for the last step only. */
static void start_reading(network_net *net) {
  memset(net->potential, 0, sizeof net->potential);
  if (NETWORK_READOUT == FIRST_SPIKE) memset(net->score, 0, sizeof net->score);
}

/* The first spikes decide in their step, and nothing is read after it. */
static void stop_reading(network_net *net) {
  uint32_t c;
  if (NETWORK_READOUT != FIRST_SPIKE) return;
  for (c = 0; c < NETWORK_N_CLASSES; c++) {
    if (net->score[c] > 0) net->decided = net->t + 1;
  }
}

/* Whether a class has more than another, by its score and then by potentials: 1, 0 or -1. */
static int better(const network_net *net, uint32_t a, uint32_t b) {
  uint32_t k;
  if (NETWORK_READOUT != MEMBRANE && net->score[a] != net->score[b]) return net->score[a] > net->score[b] ? 1 : -1;
  for (k = 0; k < NETWORK_N_READ; k++) {
    if (net->potential[k][a] != net->potential[k][b]) return net->potential[k][a] > net->potential[k][b] ? 1 : -1;
  }
  return 0;
}

network_decision network_decide(const network_net *net) {
  network_decision decision = {0, 1, 0};
  uint32_t c;
  for (c = 1; c < NETWORK_N_CLASSES; c++) {
    const int order = better(net, c, decision.predicted);
    if (order > 0) decision.predicted = c;
    if (order >= 0) decision.decided = order > 0;
  }
  if (NETWORK_READOUT != MEMBRANE && net->score[decision.predicted] == 0) decision.decided = 0;
  decision.step = net->decided ? net->decided - 1 : NETWORK_N_STEPS - 1;
  return decision;
}
#endif

void network_reset(network_net *net) {
  memset(net, 0, sizeof *net);
}

static void clear_inputs(network_net *net) {
  uint32_t k;
  for (k = 0; k < NETWORK_N_INPUTS; k++) {
    const source *s = &sources[inputs[k].source];
    memset(spikes_of(net, s, net->t), 0, s->n_words * sizeof(uint32_t));
  }
}

/* Take the events of a step in; 0, or what is wrong with them. */
static int32_t take(network_net *net, const network_event *events, uint32_t n_events) {
  const network_event *event;
  clear_inputs(net);
  for (event = events; event < events + n_events; event++) {
    const input *in = inputs;
    const source *s;
    uint32_t *word, bit, j;
    if (event->line >= NETWORK_N_LINES) return NETWORK_NO_SUCH_LINE;
    while (in + 1 < inputs + NETWORK_N_INPUTS && event->line >= in[1].first_line) in++;
    if (event->value == 0) continue;
    if (event->value < in->min_value || event->value > in->max_value) return NETWORK_NO_SUCH_VALUE;
    s = &sources[in->source];
    j = event->line - in->first_line;
    word = spikes_of(net, s, net->t) + (j >> 5);
    bit = (uint32_t)1 << (j & 31);
    if (*word & bit) return NETWORK_LINE_TWICE;
    *word |= bit;
    if (NETWORK_HAS_GRADED && s->graded) values_of(net, s, net->t)[j] = event->value;
  }
  return 0;
}

static int32_t tell(network_net *net, network_spike *spikes) {
  int32_t n = 0;
  uint32_t k, w, bits;
  for (k = 0; k < NETWORK_N_OUTPUTS; k++) {
    const source *s = &sources[populations[outputs[k].population].source];
    const uint32_t *words = spikes_of(net, s, net->t);
    if (!outputs[k].of_spikes) continue;
    for (w = 0; w < s->n_words; w++) {
      for (bits = words[w]; bits; bits &= bits - 1, n++) {
        spikes[n].output = (network_index)k;
        spikes[n].neuron = (network_index)(w * 32 + lowest(bits));
      }
    }
  }
  return n;
}

int32_t network_step(network_net *net, const network_event *events, uint32_t n_events, network_spike *spikes) {
  int32_t n = 0;
  uint32_t k;
  if (net->t == NETWORK_N_STEPS) return NETWORK_IS_OVER;
  n = take(net, events, n_events);
  if (n < 0) {
    clear_inputs(net);
    return n;
  }
#if NETWORK_READOUT
  if (!net->decided) start_reading(net);
#endif
  for (k = 0; k < NETWORK_N_POPULATIONS; k++) {
    add_inputs(net, &populations[k]);
    update(net, &populations[k]);
#if NETWORK_READOUT
    if (populations[k].read && !net->decided) read_population(net, k);
#endif
  }
#if NETWORK_READOUT
  if (!net->decided) stop_reading(net);
#endif
  if (spikes) n = tell(net, spikes);
  net->t++;
  return n;
}

int32_t network_v(const network_net *net, uint32_t k, uint32_t neuron) {
  return net->v[populations[outputs[k].population].first_neuron + neuron];
}
