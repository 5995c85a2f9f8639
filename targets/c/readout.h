/* From the spikes and potentials of outputs to a class. */

#if NETWORK_READOUT
/* y modulo 2^32 as a number of either sign. */
static int32_t as_signed(uint32_t y) {
  return y <= INT32_MAX ? (int32_t)y : -(int32_t)(UINT32_MAX - y) - 1;
}

/* Add up what the neurons of a population that was just updated say of the classes. */
static void read_population(network_net *net, uint32_t at) {
  uint32_t k, c, m, i;
  for (k = 0; k < NETWORK_N_READ; k++) {
    if (readings[k].population != at) continue;
    for (c = 0, i = 0; c < NETWORK_N_CLASSES; c++) {
      for (m = 0; m < readings[k].per_class; m++, i++) {
        if (NETWORK_READOUT != MEMBRANE && (net->x[i] & 1)) net->score[c] += (network_score)readings[k].weight;
        net->potential[k][c] += as_signed(net->x[i] & ~(uint32_t)1) / 2;
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
