/* Whole samples through the network named `net`, for bench_c.py: no time goes into text. */
#include "net.h"

#include <stddef.h>

static net_net net;

/* Events of step t of sample b are those from ends[b · NET_N_STEPS + t - 1] to the next; ends[-1] stands for 0. */
void run(const net_event *events, const int32_t *ends, int32_t n_samples, int32_t *predicted) {
  uint32_t begin = 0, t;
  int32_t b;
  for (b = 0; b < n_samples; b++) {
    net_reset(&net);
    for (t = 0; t < NET_N_STEPS; t++, ends++) {
      net_step(&net, events + begin, (uint32_t)*ends - begin, NULL);
      begin = (uint32_t)*ends;
    }
    predicted[b] = (int32_t)net_decide(&net).predicted;
  }
}
