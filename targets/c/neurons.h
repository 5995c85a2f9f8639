/* One step of a population's neurons, whose arithmetic is neuron.h's. */

SG_INLINE int32_t value_of(const parameter *p, uint32_t i) {
  const int32_t value =
      NETWORK_HAS_WIDE && p->bytes == 4 ? ((const int32_t *)p->value)[i] : ((const int16_t *)p->value)[i];
  return value * ((int32_t)1 << p->shift);
}

/* Update the neurons of a channel, `first` of which is the first; leave 2 · v before reset in x, plus 1 for a spike. It
 * has no branch that depends on a neuron, so that compilers for machines with vectors can use them. */
SG_INLINE void update_channel(network_net *net, const population *p, uint32_t channel, int remembers, int holds,
                              int counts) {
  const uint32_t first = channel * p->area, left = p->left, area = p->area;
  uint32_t *restrict x = net->x;
  int32_t *restrict v = net->v + p->first_neuron, *restrict u = net->u + p->first_current;
  int32_t *restrict held = net->held + p->first_held, *restrict n_spikes = net->n_spikes + p->first_counted;
  sg_neuron neuron = {0, 0, 0, 0, 0, 0, 0, 0, 0};
  uint32_t i;
  neuron.keep_u = value_of(&p->keep_u, p->keep_u.per_channel * channel);
  neuron.keep_v = value_of(&p->keep_v, p->keep_v.per_channel * channel);
  neuron.threshold = value_of(&p->threshold, p->threshold.per_channel * channel);
  neuron.bias = value_of(&p->bias, p->bias.per_channel * channel);
  neuron.keep_mask = p->keep_mask;
  neuron.sub_mask = p->sub_mask;
  neuron.pause = p->pause;
  neuron.max_spikes = p->max_spikes;
  for (i = first; i < first + area; i++) {
    sg_state state = {0, 0, 0, 0};
    sg_fired fired;
    if (NETWORK_EACH_KEEP_U && p->keep_u.per_neuron) neuron.keep_u = value_of(&p->keep_u, i);
    if (NETWORK_EACH_KEEP_V && p->keep_v.per_neuron) neuron.keep_v = value_of(&p->keep_v, i);
    if (NETWORK_EACH_THRESHOLD && p->threshold.per_neuron) neuron.threshold = value_of(&p->threshold, i);
    if (NETWORK_EACH_BIAS && p->bias.per_neuron) neuron.bias = value_of(&p->bias, i);
    if (remembers) {
      state.u = u[i] = sg_wrap24(sg_current(&neuron, u[i], x[i] << left, 0));
    } else {
      state.u = sg_wrap24(x[i] << left << SG_ALIGN_BITS);
    }
    state.v = v[i];
    if (holds) state.held = held[i];
    if (counts) state.n_spikes = n_spikes[i];
    fired = sg_neuron_step(&neuron, &state, 0, 1, holds);
    v[i] = state.v;
    if (holds) held[i] = state.held;
    if (counts) n_spikes[i] = state.n_spikes;
    x[i] = (uint32_t)fired.v_before_reset << 1 | (uint32_t)fired.s;
#ifdef SG_TRACE
    network_trace((uint32_t)(p - populations), i, fired.s, state.u, state.v);
#endif
  }
}

static void update(network_net *net, const population *p) {
  const int remembers = NETWORK_HAS_CURRENT && p->remembers;
  const int holds = NETWORK_HAS_HOLD && p->holds, counts = NETWORK_HAS_COUNT && p->counts;
  const uint32_t n = p->n_channels * p->area;
  uint32_t *spikes = spikes_of(net, &sources[p->source], net->t);
  uint32_t channel, i;
  for (channel = 0; channel < p->n_channels; channel++) {
    if (remembers || holds) {
      update_channel(net, p, channel, remembers, holds, counts);
    } else {
      update_channel(net, p, channel, 0, 0, 0);
    }
  }
  memset(spikes, 0, sources[p->source].n_words * sizeof *spikes);
  for (i = 0; i < n; i++) {
    if (net->x[i] & 1) spikes[i >> 5] |= (uint32_t)1 << (i & 31);
  }
}
