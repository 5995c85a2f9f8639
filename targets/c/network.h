/* A spiking network in C99, written by spikegraph. No heap, no floating point, nothing but the C library's memset.
 *
 *     static network_net net;                                  NETWORK_RAM_BYTES of memory, and there is no more
 *     network_reset(&net);                                     before each sample
 *     n = network_step(&net, events, n_events, spikes);        NETWORK_N_STEPS times
 *     answer = network_decide(&net);                           the class, where the network has a readout
 *
 * Weights and tables are const: a linker leaves them in flash. Steps are exact: docs/semantics.md of spikegraph says
 * what they compute. Several networks link together, because all that is visible bears the network's name.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#include "sizes.h"

typedef NETWORK_INDEX network_index; /* a line or a neuron */
typedef NETWORK_SCORE network_score; /* what a readout adds up */

typedef struct {
  network_index line; /* inputs follow each other: line 0 is the first of the first input */
  int16_t value;      /* 1, or what the spike of a graded input carries; 0 is no spike */
} network_event;

typedef struct {
  network_index output, neuron;
} network_spike;

typedef struct {
  uint32_t predicted; /* class; the lowest of the best where nothing is decided */
  uint32_t decided;   /* 0: silence, or a tie that no potential breaks */
  uint32_t step;      /* in which the decision stood */
} network_decision;

typedef struct {
#if NETWORK_READOUT
  network_score score[NETWORK_N_CLASSES];
  network_score potential[NETWORK_N_READ][NETWORK_N_CLASSES]; /* v before reset, summed, in the step at hand */
#endif
  uint32_t t;                         /* steps done */
  uint32_t decided;                   /* a first spike has decided, in the step before `decided` */
  int32_t v[NETWORK_N_NEURONS];       /* membrane potentials */
  int32_t u[NETWORK_N_CURRENTS];      /* synaptic currents of the populations that remember them */
  int32_t held[NETWORK_N_HELD];         /* steps for which v stays 0 yet, of those that may be held */
  int32_t n_spikes[NETWORK_N_COUNTED]; /* of those whose spikes are limited */
  uint32_t x[NETWORK_N_SUMS];         /* input sums of the population at hand, modulo 2^32 */
  uint32_t apart[NETWORK_N_APART];    /* the same of one projection that is shifted by itself */
  uint32_t spikes[NETWORK_N_WORDS];   /* a bit a neuron, of as many steps as its longest delay needs */
  int16_t values[NETWORK_N_VALUES];   /* what spikes of graded inputs carry, likewise */
} network_net;

/* Stops the compiler where a network needs more memory than it was said to. */
typedef char network_ram_is_known[sizeof(network_net) <= NETWORK_RAM_BYTES ? 1 : -1];

/* What network_step returns in place of a number of spikes. The network is then as it was before the step. */
enum {
  NETWORK_NO_SUCH_LINE = -1,
  NETWORK_NO_SUCH_VALUE = -2, /* it leaves what the input may carry */
  NETWORK_LINE_TWICE = -3,
  NETWORK_IS_OVER = -4 /* all steps are done: reset first */
};

#ifdef __cplusplus
extern "C" {
#endif

void network_reset(network_net *net);

/* Compute one step. A line appears at most once among the events, in any order. Writes the spikes of the outputs, at most
 * NETWORK_MAX_SPIKES, unless `spikes` is NULL; returns their number, or one of the numbers above. */
int32_t network_step(network_net *net, const network_event *events, uint32_t n_events, network_spike *spikes);

/* The membrane potential of a neuron of an output after the last step, in units of 1/64 of a threshold_mant. */
int32_t network_v(const network_net *net, uint32_t output, uint32_t neuron);

#if NETWORK_READOUT
/* The decision on the steps done; it is final after the last, and for a first-spike readout once `decided` is set. */
network_decision network_decide(const network_net *net);
#endif

#ifdef SG_TRACE
/* Yours to define: called for each neuron in each step, with v after its reset. */
void network_trace(uint32_t population, uint32_t neuron, int32_t s, int32_t u, int32_t v);
#endif

#ifdef __cplusplus
}
#endif

#endif
