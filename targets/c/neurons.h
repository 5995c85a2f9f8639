/* One step of a population's neurons, whose arithmetic is neuron.h's. */

SG_INLINE int32_t value_of(const parameter *p, uint32_t i) {
  const int32_t value = NETWORK_HAS_WIDE && p->bytes == 4 ? ((const int32_t *)p->value)[i] : ((const int16_t *)p->value)[i];
  return value * ((int32_t)1 << p->shift);
}

/* Update the neurons of a population, and leave their v before reset in x. */
static void update(network_net *net, const population *p) {
  const int holds = NETWORK_HAS_HOLD && p->holds, counts = NETWORK_HAS_COUNT && p->counts;
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
      if (NETWORK_EACH_KEEP_U && p->keep_u.per_neuron) neuron.keep_u = value_of(&p->keep_u, i);
      if (NETWORK_EACH_KEEP_V && p->keep_v.per_neuron) neuron.keep_v = value_of(&p->keep_v, i);
      if (NETWORK_EACH_THRESHOLD && p->threshold.per_neuron) neuron.threshold = value_of(&p->threshold, i);
      if (NETWORK_EACH_BIAS && p->bias.per_neuron) neuron.bias = value_of(&p->bias, i);
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
