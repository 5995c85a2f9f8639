/* The engine: a step of the network from its tables, spike by spike. */
#include "network.h"

#include <stddef.h>
#include <string.h>

#include "neuron.h"

#include "structures.h"
#include "tables.h"
#include "synapses.h"
#include "neurons.h"
#include "readout.h"

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
  uint32_t k;
  clear_inputs(net);
  for (k = 0; k < n_events; k++) {
    const network_event *event = &events[k];
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
