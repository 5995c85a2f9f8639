/* The inner loops, compiled once for each level of vector instructions. _kernel.c defines LEVEL(name), TARGET (the
 * attribute that selects the instructions), LANES (16-bit numbers in a register) and BLOCK (registers that hold sums).
 *
 * Sums are kept in wrapping arithmetic of a width that native.py has proved to be enough.
 */

/* Sums of rows of int8. In 16 bits 256 rows cannot overflow (256 · -128 = -2^15), so the sums stay in registers. */

typedef int8_t LEVEL(narrow) __attribute__((vector_size(LANES)));
typedef int16_t LEVEL(wide) __attribute__((vector_size(2 * LANES)));

/* Load and widen; compilers split what one instruction does. */
TARGET SG_INLINE LEVEL(wide) LEVEL(load_wide)(const int8_t *from) {
#if defined(__x86_64__) && LANES == 32
  return (LEVEL(wide))_mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)from));
#elif defined(__x86_64__) && LANES == 16
  return (LEVEL(wide))_mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)from));
#else
  LEVEL(narrow) w;
  memcpy(&w, from, LANES);
  return __builtin_convertvector(w, LEVEL(wide));
#endif
}

#define SUM_ROWS(n_vectors)                                                                                           \
  for (int64_t first = 0; first < n_events; first += 256) {                                                           \
    const int64_t last = first + 256 < n_events ? first + 256 : n_events;                                             \
    LEVEL(wide) sum[n_vectors];                                                                                       \
    for (int q = 0; q < (n_vectors); q++) sum[q] = (LEVEL(wide)){0};                                                  \
    for (int64_t e = first; e < last; e++) {                                                                          \
      const int8_t *row = weight + (int64_t)index[e] * stride + at;                                                   \
      for (int q = 0; q < (n_vectors); q++) sum[q] += LEVEL(load_wide)(row + q * LANES);                              \
    }                                                                                                                 \
    int16_t partial[(n_vectors) * LANES];                                                                             \
    memcpy(partial, sum, sizeof partial);                                                                             \
    if (sum_bytes == 2)                                                                                               \
      for (int k = 0; k < (n_vectors) * LANES; k++)                                                                   \
        ((uint16_t *)sums)[at + k] = (uint16_t)(((uint16_t *)sums)[at + k] + (uint16_t)partial[k]);                   \
    else if (sum_bytes == 4)                                                                                          \
      for (int k = 0; k < (n_vectors) * LANES; k++) ((int32_t *)sums)[at + k] += partial[k];                          \
    else                                                                                                              \
      for (int k = 0; k < (n_vectors) * LANES; k++) ((int64_t *)sums)[at + k] += partial[k];                          \
  }

TARGET APART static void LEVEL(dense8)(const int8_t *restrict weight, int64_t stride, const int32_t *restrict index,
                                 int64_t n_events, void *restrict sums, int64_t sum_bytes) {
  int64_t at = 0;
  for (; at + BLOCK * LANES <= stride; at += BLOCK * LANES) { SUM_ROWS(BLOCK) }
  for (; at + 4 * LANES <= stride; at += 4 * LANES) { SUM_ROWS(4) }
  for (; at < stride; at += LANES) { SUM_ROWS(1) }
}

/* Rows of any width, times the value that a graded spike carries (1 for a binary one). */

#define ROWS(name, weight_t, sum_t, product_t)                                                                        \
  TARGET static void LEVEL(name)(const void *restrict all, int64_t stride, const int32_t *restrict index,             \
                                 const int32_t *restrict value, int64_t n_events, void *restrict out) {               \
    sum_t *restrict sums = out;                                                                                       \
    for (int64_t e = 0; e < n_events; e++) {                                                                          \
      const weight_t *restrict w = (const weight_t *)all + (int64_t)index[e] * stride;                                \
      const product_t times = value ? (product_t)value[e] : 1;                                                        \
      for (int64_t k = 0; k < stride; k++) sums[k] = (sum_t)((product_t)sums[k] + (product_t)w[k] * times);           \
    }                                                                                                                 \
  }
ROWS(rows_1_2, int8_t, int16_t, uint32_t)
ROWS(rows_1_4, int8_t, int32_t, uint32_t)
ROWS(rows_1_8, int8_t, int64_t, uint64_t)
ROWS(rows_2_2, int16_t, int16_t, uint32_t)
ROWS(rows_2_4, int16_t, int32_t, uint32_t)
ROWS(rows_2_8, int16_t, int64_t, uint64_t)
#undef ROWS

/* Windows (convolution, pooling): channels lie innermost, so that a row of the kernel is one run of sums. */

#define ADD_VECTOR(weight_t, unsigned_t, bytes)                                                                       \
  {                                                                                                                   \
    typedef unsigned_t vector __attribute__((vector_size(bytes)));                                                    \
    typedef weight_t narrow __attribute__((vector_size(bytes / sizeof(unsigned_t) * sizeof(weight_t))));              \
    vector a;                                                                                                         \
    narrow b;                                                                                                         \
    memcpy(&a, to + k, sizeof a);                                                                                     \
    memcpy(&b, w + k, sizeof b);                                                                                      \
    a += __builtin_convertvector(b, vector);                                                                          \
    memcpy(to + k, &a, sizeof a);                                                                                     \
    k += (int)(bytes / sizeof(unsigned_t));                                                                           \
  }
#define WINDOW(name, weight_t, sum_t, unsigned_t, product_t)                                                          \
  TARGET APART static void LEVEL(name)(const sg_projection *p, const events *in, void *restrict out,                  \
                                 uint8_t *restrict awake, int all_awake) {                                            \
    const int32_t *restrict rows_ptr = p->rows_ptr, *restrict rows = p->rows;                                         \
    const int32_t *restrict runs_ptr = p->runs_ptr, *restrict runs = p->runs;                                         \
    const int32_t *restrict sites = p->site, *restrict index = in->index, *restrict value = in->value;                \
    const weight_t *restrict weights = p->weight;                                                                     \
    const int64_t n_events = in->n;                                                                                   \
    enum { FULL = (int)(64 / sizeof(sum_t)), HALF = FULL / 2, QUARTER = FULL / 4 };                                   \
    for (int64_t e = 0; e < n_events; e++) {                                                                          \
      const int32_t *site = sites + 4 * (int64_t)index[e];                                                            \
      __builtin_prefetch(sites + 4 * (int64_t)index[e + 8 < n_events ? e + 8 : e]);                                   \
      const int32_t first_run = runs_ptr[site[1]], last_run = runs_ptr[site[1] + 1];                                  \
      const int32_t last_row = rows_ptr[site[0] + 1];                                                                 \
      for (int32_t r = rows_ptr[site[0]]; r < last_row; r++) {                                                        \
        const int64_t from = (int64_t)site[3] + rows[2 * r];                                                          \
        const weight_t *weight = weights + site[2] + rows[2 * r + 1];                                                 \
        for (int32_t c = first_run; c < last_run; c++) {                                                              \
          const int64_t start = from + runs[3 * c];                                                                   \
          const int32_t length = runs[3 * c + 2];                                                                     \
          sum_t *restrict to = (sum_t *)out + start;                                                                  \
          const weight_t *restrict w = weight + runs[3 * c + 1];                                                      \
          int32_t k = 0;                                                                                              \
          if (!all_awake)                                                                                             \
            for (int64_t row = start / SG_ROW; row <= (start + length - 1) / SG_ROW; row++) awake[row] = 1;           \
          if (value) {                                                                                                \
            const product_t times = (product_t)value[e];                                                              \
            for (; k < length; k++) to[k] = (sum_t)((product_t)to[k] + (product_t)w[k] * times);                      \
            continue;                                                                                                 \
          }                                                                                                           \
          if (sizeof(weight_t) == 1 && sizeof(sum_t) == 2)                                                            \
            for (; k + LANES <= length; k += LANES) {                                                                 \
              LEVEL(wide) a;                                                                                          \
              memcpy(&a, to + k, sizeof a);                                                                           \
              a += LEVEL(load_wide)((const int8_t *)(w + k));                                                         \
              memcpy(to + k, &a, sizeof a);                                                                           \
            }                                                                                                         \
          while (k + FULL <= length) ADD_VECTOR(weight_t, unsigned_t, 64)                                             \
          if (k + HALF <= length) ADD_VECTOR(weight_t, unsigned_t, 32)                                                \
          if (k + QUARTER <= length) ADD_VECTOR(weight_t, unsigned_t, 16)                                             \
          for (; k < length; k++) to[k] = (sum_t)((product_t)to[k] + (product_t)w[k]);                                \
        }                                                                                                             \
      }                                                                                                               \
    }                                                                                                                 \
  }
WINDOW(window_1_2, int8_t, int16_t, uint16_t, uint32_t)
WINDOW(window_1_4, int8_t, int32_t, uint32_t, uint32_t)
WINDOW(window_1_8, int8_t, int64_t, uint64_t, uint64_t)
WINDOW(window_2_2, int16_t, int16_t, uint16_t, uint32_t)
WINDOW(window_2_4, int16_t, int32_t, uint32_t, uint32_t)
WINDOW(window_2_8, int16_t, int64_t, uint64_t, uint64_t)
#undef ADD_VECTOR
#undef WINDOW

/* Lists of synapses. A spike's row lies anywhere in memory, so the rows of the spikes to come are asked for ahead: where
 * they lie, then what is in them; a long row is one that the processor follows by itself. Once no neuron sleeps, none
 * needs waking. */

#define SPARSE(name, weight_t, sum_t, product_t)                                                                      \
  TARGET APART static void LEVEL(name)(const sg_projection *p, const events *in, void *restrict out,                  \
                                 uint8_t *restrict awake, int64_t n_rows) {                                           \
    const weight_t *restrict w = p->weight;                                                                           \
    const int32_t *restrict target = p->indices, *restrict index = in->index, *restrict value = in->value;            \
    const int64_t *restrict row_begin = p->row_begin, *restrict row_end = p->row_end;                                 \
    sum_t *restrict sums = out;                                                                                       \
    const int64_t n_events = in->n;                                                                                   \
    enum { SOON = 4, LATER = 16, LONG = 512 };                                                                        \
    int asleep = 1;                                                                                                   \
    for (int64_t e = 0; e < n_events; e++) {                                                                          \
      if (e + LATER < n_events) {                                                                                     \
        __builtin_prefetch(row_begin + index[e + LATER]);                                                             \
        __builtin_prefetch(row_end + index[e + LATER]);                                                               \
      }                                                                                                               \
      if (e + SOON < n_events) {                                                                                      \
        const int64_t from = row_begin[index[e + SOON]], all = row_end[index[e + SOON]] - from;                       \
        const int64_t to = from + (all < LONG ? all : LONG);                                                          \
        for (int64_t k = from; k < to; k += 64 / (int)sizeof(int32_t)) __builtin_prefetch(target + k);                \
        for (int64_t k = from; k < to; k += 64 / (int)sizeof(weight_t)) __builtin_prefetch(w + k);                    \
      }                                                                                                               \
      if (asleep && e % 256 == 0) asleep = memchr(awake, 0, (size_t)n_rows) != NULL;                                  \
      const int64_t begin = row_begin[index[e]], end = row_end[index[e]];                                             \
      if (value || asleep) {                                                                                          \
        const product_t times = value ? (product_t)value[e] : 1;                                                      \
        for (int64_t k = begin; k < end; k++) {                                                                       \
          sums[target[k]] = (sum_t)((product_t)sums[target[k]] + (product_t)w[k] * times);                            \
          awake[target[k] / SG_ROW] = 1;                                                                              \
        }                                                                                                             \
      } else {                                                                                                        \
        for (int64_t k = begin; k < end; k++)                                                                         \
          sums[target[k]] = (sum_t)((product_t)sums[target[k]] + (product_t)w[k]);                                    \
      }                                                                                                               \
    }                                                                                                                 \
  }
SPARSE(sparse_1_2, int8_t, int16_t, uint32_t)
SPARSE(sparse_1_4, int8_t, int32_t, uint32_t)
SPARSE(sparse_1_8, int8_t, int64_t, uint64_t)
SPARSE(sparse_2_2, int16_t, int16_t, uint32_t)
SPARSE(sparse_2_4, int16_t, int32_t, uint32_t)
SPARSE(sparse_2_8, int16_t, int64_t, uint64_t)
#undef SPARSE

/* Which of 64 bytes are not 0, as bits. */
TARGET static inline uint64_t LEVEL(mask64)(const uint8_t *bytes) {
#if defined(__x86_64__) && LANES == 32
  const __m512i all = _mm512_loadu_si512((const void *)bytes);
  return _mm512_test_epi8_mask(all, all);
#elif defined(__x86_64__) && LANES == 16
  const __m256i low = _mm256_loadu_si256((const void *)bytes), high = _mm256_loadu_si256((const void *)(bytes + 32));
  const uint32_t a = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, _mm256_setzero_si256()));
  const uint32_t b = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, _mm256_setzero_si256()));
  return ~(a | (uint64_t)b << 32);
#else
  uint64_t mask = 0;
  for (int k = 0; k < 64; k += 8) {
    uint64_t eight;
    memcpy(&eight, bytes + k, 8);
    if (eight)
      for (int i = 0; i < 8; i++) mask |= (uint64_t)(bytes[k + i] != 0) << (k + i);
  }
  return mask;
#endif
}

/* Which of 64 numbers of 16 bits, each 0 or 1, are not 0. */
TARGET static inline uint64_t LEVEL(mask64_wide)(const int16_t *fired) {
#if defined(__x86_64__) && LANES == 32
  const __m512i low = _mm512_loadu_si512((const void *)fired), high = _mm512_loadu_si512((const void *)(fired + 32));
  return _mm512_test_epi16_mask(low, low) | (uint64_t)_mm512_test_epi16_mask(high, high) << 32;
#else
  uint8_t narrow[64];
  for (int k = 0; k < 64; k++) narrow[k] = (uint8_t)fired[k];
  return LEVEL(mask64)(narrow);
#endif
}

/* Write from + k for each bit k of the mask, which is not 0, and return the end; up to 15 more may be overwritten. */
TARGET static inline int32_t *LEVEL(write_bits)(int32_t *to, int32_t from, uint64_t mask) {
#if defined(__x86_64__) && LANES == 32
  __m512i index = _mm512_add_epi32(_mm512_set1_epi32(from),
                                   _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  for (int k = 0; k < 4; k++) {
    const __mmask16 part = (__mmask16)(mask >> 16 * k);
    _mm512_storeu_si512((void *)to, _mm512_maskz_compress_epi32(part, index));
    to += __builtin_popcount(part);
    index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
  }
  return to;
#else
  const int count = __builtin_popcountll(mask);
  for (int k = 0; k < count; k++) {
    to[k] = from + __builtin_ctzll(mask);
    mask &= mask - 1;
  }
  return to + count;
#endif
}

/* Append first + i for each i < n that is not 0 in `all`; the caller has reserved room for these and 16 more. */
#define APPEND(name, number, mask_of)                                                                                 \
  TARGET static void LEVEL(name)(events *e, const number *all, int64_t first, int64_t n) {                            \
    int32_t *to = e->index + e->n;                                                                                    \
    int64_t i = 0;                                                                                                    \
    for (; i + 64 <= n; i += 64) {                                                                                    \
      const uint64_t mask = LEVEL(mask_of)(all + i);                                                                  \
      if (mask) to = LEVEL(write_bits)(to, (int32_t)(first + i), mask);                                               \
    }                                                                                                                 \
    for (; i < n; i++) {                                                                                              \
      *to = (int32_t)(first + i);                                                                                     \
      to += all[i] != 0;                                                                                              \
    }                                                                                                                 \
    e->n = to - e->index;                                                                                             \
  }
APPEND(append_input, uint8_t, mask64)
APPEND(append_fired, int16_t, mask64_wide)
#undef APPEND

TARGET static void LEVEL(add_events)(const sg_projection *p, const events *in, void *sums, int64_t sum_bytes,
                                     uint8_t *awake, int64_t n_rows) {
  const int32_t *value = in->value;
  /* Where so many spikes arrive that hardly a row can stay asleep, to say which woke costs more than it saves. */
  const int all_awake = p->kind == SG_DENSE8 || p->kind == SG_ROWS || (p->kind == SG_WINDOW && in->n >= n_rows / 2);
  if (all_awake) memset(awake, 1, (size_t)n_rows);
  if (p->kind == SG_DENSE8)
    LEVEL(dense8)(p->weight, p->row_stride, in->index, in->n, sums, sum_bytes);
#define CHOOSE(kind_, w_, s_, call) \
  else if (p->kind == kind_ && p->weight_bytes == w_ && sum_bytes == s_) call
  CHOOSE(SG_ROWS, 1, 2, LEVEL(rows_1_2)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_ROWS, 1, 4, LEVEL(rows_1_4)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_ROWS, 1, 8, LEVEL(rows_1_8)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_ROWS, 2, 2, LEVEL(rows_2_2)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_ROWS, 2, 4, LEVEL(rows_2_4)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_ROWS, 2, 8, LEVEL(rows_2_8)(p->weight, p->row_stride, in->index, value, in->n, sums));
  CHOOSE(SG_WINDOW, 1, 2, LEVEL(window_1_2)(p, in, sums, awake, all_awake));
  CHOOSE(SG_WINDOW, 2, 2, LEVEL(window_2_2)(p, in, sums, awake, all_awake));
  CHOOSE(SG_WINDOW, 1, 4, LEVEL(window_1_4)(p, in, sums, awake, all_awake));
  CHOOSE(SG_WINDOW, 2, 4, LEVEL(window_2_4)(p, in, sums, awake, all_awake));
  CHOOSE(SG_WINDOW, 1, 8, LEVEL(window_1_8)(p, in, sums, awake, all_awake));
  CHOOSE(SG_WINDOW, 2, 8, LEVEL(window_2_8)(p, in, sums, awake, all_awake));
  CHOOSE(SG_SPARSE, 1, 2, LEVEL(sparse_1_2)(p, in, sums, awake, n_rows));
  CHOOSE(SG_SPARSE, 1, 4, LEVEL(sparse_1_4)(p, in, sums, awake, n_rows));
  CHOOSE(SG_SPARSE, 1, 8, LEVEL(sparse_1_8)(p, in, sums, awake, n_rows));
  CHOOSE(SG_SPARSE, 2, 2, LEVEL(sparse_2_2)(p, in, sums, awake, n_rows));
  CHOOSE(SG_SPARSE, 2, 4, LEVEL(sparse_2_4)(p, in, sums, awake, n_rows));
  CHOOSE(SG_SPARSE, 2, 8, LEVEL(sparse_2_8)(p, in, sums, awake, n_rows));
#undef CHOOSE
}

/* One step of the neurons first … last - 1, whose number is a multiple of 32: beyond the population's end lie neurons
 * that are nothing but 0, which cost less than an odd number would. Without a current that outlives its step, u of the
 * step before is x of the step before: it lies in `before`, and is cleared there to take the sums of the step after. */

SG_INLINE sg_neuron LEVEL(neuron)(const sg_population *p, int64_t i) {
  const sg_neuron neuron = {p->keep_u[i],          p->keep_v[i],         p->threshold[i],   p->bias[i],
                            (int32_t)p->keep_mask, (int32_t)p->sub_mask, (int32_t)p->pause, (int32_t)p->max_spikes};
  return neuron;
}

/* What may happen: SG_PLAIN nothing; SG_SATURATE v may saturate; SG_ANYTHING also u may wrap, and x is shifted. */
#define UPDATE(name, sum_t, current, hold, may, per)                                                                  \
  TARGET static void LEVEL(name)(const sg_population *p, cells *c, int64_t first, int64_t last, tally *out) {         \
    sum_t *restrict sums = (sum_t *)c->sums + first, *restrict before = (sum_t *)c->before + first;                   \
    int32_t *restrict us = c->u + first, *restrict vs = c->v + first;                                                 \
    int32_t *restrict helds = c->held + first, *restrict counts = c->n_spikes + first;                                \
    int16_t *restrict fired = c->fired + first;                                                                       \
    const int32_t *restrict keep_u = p->keep_u + first, *restrict keep_v = p->keep_v + first;                         \
    const int32_t *restrict thresholds = p->threshold + first, *restrict biases = p->bias + first;                    \
    const int wraps_too = (may) == SG_ANYTHING;                                                                       \
    const int left = wraps_too && p->exponent > 0 ? (int)p->exponent : 0;                                             \
    const int right = wraps_too && p->exponent < 0 ? (int)-p->exponent : 0;                                           \
    const sg_neuron one = LEVEL(neuron)(p, 0);                                                                        \
    uint32_t active = 0, spikes = 0, wraps = 0, saturations = 0, rest = 0;                                            \
    const int64_t n = (last - first) / 32 * 32;                                                                       \
    INDEPENDENT for (int64_t i = 0; i < n; i++) {                                                                     \
      sg_neuron neuron = one;                                                                                         \
      if (per) {                                                                                                      \
        neuron.keep_u = keep_u[i];                                                                                    \
        neuron.keep_v = keep_v[i];                                                                                    \
        neuron.threshold = thresholds[i];                                                                             \
        neuron.bias = biases[i];                                                                                      \
      }                                                                                                               \
      const int32_t sum = sums[i];                                                                                    \
      const uint32_t x = wraps_too ? (uint32_t)(sum >> right) << left : (uint32_t)sum;                                \
      sg_state state = {0, vs[i], hold ? helds[i] : 0, hold ? counts[i] : 0};                                         \
      uint32_t u;                                                                                                     \
      if (current) {                                                                                                  \
        state.u = us[i];                                                                                              \
        u = sg_current(&neuron, state.u, x);                                                                          \
        sums[i] = 0;                                                                                                  \
      } else {                                                                                                        \
        state.u = before[i];                                                                                          \
        if (wraps_too) state.u = sg_wrap24((uint32_t)(state.u >> right) << (left + SG_ALIGN_BITS));                   \
        u = x << SG_ALIGN_BITS;                                                                                       \
        before[i] = 0;                                                                                                \
      }                                                                                                               \
      active += (x | (uint32_t)state.u | (uint32_t)state.v) != 0;                                                     \
      state.u = wraps_too ? sg_wrap24(u) : (int32_t)u;                                                                \
      if (wraps_too) wraps += state.u != (int32_t)u;                                                                  \
      const sg_fired f = sg_neuron_step(&neuron, &state, (may) != SG_PLAIN, hold);                                    \
      vs[i] = state.v;                                                                                                \
      if (current) us[i] = state.u;                                                                                   \
      if (hold) {                                                                                                     \
        helds[i] = state.held;                                                                                        \
        counts[i] = state.n_spikes;                                                                                   \
      }                                                                                                               \
      fired[i] = (int16_t)f.s;                                                                                        \
      spikes += (uint32_t)f.s;                                                                                        \
      if ((may) != SG_PLAIN) saturations += (uint32_t)f.saturated;                                                    \
      rest |= (uint32_t)state.v | (uint32_t)sum;                                                                      \
      if (current) rest |= (uint32_t)state.u;                                                                         \
      if (hold) rest |= (uint32_t)state.held;                                                                         \
    }                                                                                                                 \
    out->active += active;                                                                                            \
    out->spikes += spikes;                                                                                            \
    out->wraps += wraps;                                                                                              \
    out->saturations += saturations;                                                                                  \
    out->rest = rest;                                                                                                 \
  }
#define UPDATES(name, sum_t)                              \
  UPDATE(name##_plain, sum_t, 0, 0, SG_PLAIN, 0)          \
  UPDATE(name##_plain_each, sum_t, 0, 0, SG_PLAIN, 1)     \
  UPDATE(name##_sat, sum_t, 0, 0, SG_SATURATE, 0)         \
  UPDATE(name##_sat_each, sum_t, 0, 0, SG_SATURATE, 1)    \
  UPDATE(name##_any, sum_t, 0, 0, SG_ANYTHING, 1)         \
  UPDATE(name##_hold, sum_t, 0, 1, SG_ANYTHING, 1)        \
  UPDATE(name##_u_plain, sum_t, 1, 0, SG_PLAIN, 0)        \
  UPDATE(name##_u_plain_each, sum_t, 1, 0, SG_PLAIN, 1)   \
  UPDATE(name##_u_sat, sum_t, 1, 0, SG_SATURATE, 0)       \
  UPDATE(name##_u_sat_each, sum_t, 1, 0, SG_SATURATE, 1)  \
  UPDATE(name##_u_any, sum_t, 1, 0, SG_ANYTHING, 1)       \
  UPDATE(name##_u_hold, sum_t, 1, 1, SG_ANYTHING, 1)
UPDATES(update_2, int16_t)
UPDATES(update_4, int32_t)
#undef UPDATES
#undef UPDATE

/* Everything that may happen, x in 64 bits, with a trace. */
TARGET static void LEVEL(update_general)(const sg_population *p, cells *c, int64_t first, int64_t last, tally *out) {
  int64_t *restrict xs = c->x + first;
  int32_t *restrict us = c->u + first, *restrict vs = c->v + first, *restrict helds = c->held + first, *restrict counts = c->n_spikes + first;
  int16_t *restrict fired = c->fired + first;
  int32_t *restrict before_reset = c->before_reset + first;
  uint8_t *restrict actives = c->active + first;
  int64_t *restrict trace_x = c->trace_x + first;
  const int32_t *restrict keep_u = p->keep_u + first, *restrict keep_v = p->keep_v + first;
  const int32_t *restrict thresholds = p->threshold + first, *restrict biases = p->bias + first;
  const sg_neuron one = LEVEL(neuron)(p, 0);
  uint32_t current[SG_ROW], given[SG_ROW];
  uint32_t active = 0, spikes = 0, wraps = 0, saturations = 0, rest = 0;
  const int64_t n = (last - first) / 32 * 32;
  INDEPENDENT for (int64_t i = 0; i < n; i++) { /* what needs 64 bits, by itself */
    const int64_t x = xs[i], u = (int64_t)sg_decay(us[i], keep_u[i]) + x * (1 << SG_ALIGN_BITS);
    current[i] = (uint32_t)u;
    wraps += u > SG_STATE_HALF || u <= -SG_STATE_HALF;
    given[i] = x != 0;
    trace_x[i] = x;
    xs[i] = 0;
  }
  INDEPENDENT for (int64_t i = 0; i < n; i++) {
    sg_neuron neuron = one;
    neuron.keep_v = keep_v[i];
    neuron.threshold = thresholds[i];
    neuron.bias = biases[i];
    sg_state state = {us[i], vs[i], helds[i], counts[i]};
    const uint8_t is_active = (given[i] | (uint32_t)state.u | (uint32_t)state.v) != 0;
    actives[i] = is_active;
    active += is_active;
    state.u = sg_wrap24(current[i]);
    const sg_fired f = sg_neuron_step(&neuron, &state, 1, 1);
    before_reset[i] = f.v_before_reset;
    us[i] = state.u;
    vs[i] = state.v;
    helds[i] = state.held;
    counts[i] = state.n_spikes;
    fired[i] = (int16_t)f.s;
    spikes += (uint32_t)f.s;
    saturations += (uint32_t)f.saturated;
    rest |= (uint32_t)state.u | (uint32_t)state.v | (uint32_t)state.held;
  }
  out->active += active;
  out->spikes += spikes;
  out->wraps += wraps;
  out->saturations += saturations;
  out->rest = rest;
}

TARGET static void LEVEL(fold)(const void *sums, int64_t sum_bytes, int64_t exponent, int64_t n, int64_t *restrict x) {
  for (int64_t i = 0; i < n; i++) {
    const int64_t sum = sum_bytes == 2 ? ((const int16_t *)sums)[i]
                                       : sum_bytes == 4 ? ((const int32_t *)sums)[i] : ((const int64_t *)sums)[i];
    x[i] += exponent >= 0 ? sum * ((int64_t)1 << exponent) : sum >> -exponent;
  }
}

static const update_function LEVEL(updates)[2][12] = {
#define TABLE(name)                                                                                      \
  {LEVEL(name##_plain),   LEVEL(name##_plain_each),   LEVEL(name##_sat),   LEVEL(name##_sat_each),       \
   LEVEL(name##_any),     LEVEL(name##_hold),         LEVEL(name##_u_plain), LEVEL(name##_u_plain_each), \
   LEVEL(name##_u_sat),   LEVEL(name##_u_sat_each),   LEVEL(name##_u_any), LEVEL(name##_u_hold)}
    TABLE(update_2), TABLE(update_4)
#undef TABLE
};

static const level LEVEL(functions) = {LEVEL(add_events), LEVEL(append_input), LEVEL(append_fired), LEVEL(updates), LEVEL(update_general),
                                       LEVEL(fold)};
