/* The neuron of docs/semantics.md in C: one step, in integers. The only place in C where its arithmetic exists.
 *
 * C99, 32-bit integers, no allocation, no dependency, no branch that a compiler could not turn into a selection: the
 * same text serves a vectorizing compiler on a workstation and a microcontroller. Right shifts of negative numbers are
 * arithmetic, as on every compiler that this meets.
 */
#ifndef SPIKEGRAPH_NEURON_H
#define SPIKEGRAPH_NEURON_H

#include <stdint.h>

#define SG_STATE_HALF 8388608 /* 2^23 */
#define SG_STATE_MAX 8388607  /* saturation end of v */
#define SG_STATE_MASK 16777215u
#define SG_ALIGN_BITS 6
#define SG_KEEP_BITS 12

#if defined(__GNUC__)
#define SG_INLINE static inline __attribute__((always_inline))
#else
#define SG_INLINE static inline
#endif

SG_INLINE int32_t sg_magnitude(int32_t y) {
  return y < 0 ? -y : y;
}

/* y · keep / 4096, rounded toward zero; |y| <= 2^23, keep = 4096 - decay in 0…4096. The product has 36 bits, its two
 * halves have 24, and each is a product of numbers of 13 bits. */
SG_INLINE int32_t sg_decay(int32_t y, int32_t keep) {
  const int32_t magnitude = sg_magnitude(y);
  const int32_t kept = (magnitude >> 12) * keep + (((magnitude & 4095) * keep) >> 12);
  return y < 0 ? -kept : kept;
}

/* y · keep / 2^bits, rounded toward zero, where the product fits in 32 bits: sg_decay where y is small, or where keep and
 * 4096 have a large common divisor that was taken out of both. */
SG_INLINE int32_t sg_decay_small(int32_t y, int32_t keep, int bits) {
  const int32_t product = y * keep;
  return (product + (product < 0 ? (1 << bits) - 1 : 0)) >> bits;
}

/* Into (-2^23, 2^23] by multiples of 2^24: only the low 24 bits of y matter. */
SG_INLINE int32_t sg_wrap24(uint32_t y) {
  return SG_STATE_HALF - (int32_t)((SG_STATE_HALF - y) & SG_STATE_MASK);
}

SG_INLINE int32_t sg_saturate24(int32_t y) {
  const int32_t capped = y > SG_STATE_MAX ? SG_STATE_MAX : y;
  return capped < -SG_STATE_MAX ? -SG_STATE_MAX : capped;
}

typedef struct {
  int32_t keep_u, keep_v;      /* 4096 - decay_u, 4096 - decay_v */
  int32_t threshold, bias;     /* in the units of v */
  int32_t keep_mask, sub_mask; /* what a spike leaves of v: zero 0, 0; subtract -1, -1; none -1, 0 */
  int32_t pause;               /* refractory_steps - 1 */
  int32_t max_spikes;          /* INT32_MAX: no limit */
  int32_t keep_bits;           /* 12; fewer if keep_u and keep_v are in larger units than 1/4096, for small steps only */
} sg_neuron;

typedef struct {
  int32_t u, v;
  int32_t held;     /* steps for which v stays 0 yet; INT32_MAX once the spike limit is reached */
  int32_t n_spikes;
} sg_state;

typedef struct {
  int32_t s, v_before_reset;
  int32_t saturated;
} sg_fired;

/* A caller that knows that u and v are small enough for sg_decay_small, that v cannot saturate in this step, or that
 * nothing is ever held, says so, and the compiler drops what cannot happen. */

/* u of this step before it is wrapped, modulo 2^32; x << 6 is a product because x may be negative. */
SG_INLINE uint32_t sg_current(const sg_neuron *p, int32_t u, uint32_t x, int small) {
  const int32_t kept = small ? sg_decay_small(u, p->keep_u, p->keep_bits) : sg_decay(u, p->keep_u);
  return (uint32_t)kept + (x << SG_ALIGN_BITS);
}

/* The rest of the step, once `state->u` is the current of this step. */
SG_INLINE sg_fired sg_neuron_step(const sg_neuron *p, sg_state *state, int small, int may_saturate, int may_hold) {
  const int32_t kept = small ? sg_decay_small(state->v, p->keep_v, p->keep_bits) : sg_decay(state->v, p->keep_v);
  const int32_t v = kept + state->u + p->bias;
  const int32_t clipped = may_saturate ? sg_saturate24(v) : v;
  const int32_t integrates = may_hold ? -(int32_t)(state->held == 0) : -1;
  sg_fired out;
  out.v_before_reset = clipped & integrates;
  out.saturated = may_saturate ? (int32_t)(clipped != v) & integrates & 1 : 0;
  out.s = out.v_before_reset > p->threshold;
  state->v = out.s ? (out.v_before_reset & p->keep_mask) - (p->threshold & p->sub_mask) : out.v_before_reset;
  if (may_hold) {
    const int32_t rest = state->held > 0 ? state->held - 1 : 0;
    const int32_t held = out.s ? p->pause : rest;
    state->n_spikes += out.s;
    state->held = state->n_spikes >= p->max_spikes ? INT32_MAX : held;
  }
  return out;
}

#endif
