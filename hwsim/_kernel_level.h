/* The inner loops, compiled once for each level of vector instructions. _kernel.c defines LEVEL(name), TARGET (the
 * attribute that selects the instructions), LANES (16-bit numbers in a register) and BLOCK (registers that hold sums).
 *
 * Sums are kept in wrapping arithmetic of a width that plan.py has proved to be enough.
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

/* Add the n registers `partial` to sums in memory. n and sum_bytes are constants, or the registers would be spilled. */
TARGET SG_INLINE void LEVEL(add_partial)(const LEVEL(wide) *partial, const int n, void *sums, const int sum_bytes) {
  if (sum_bytes == 2) {
    for (int q = 0; q < n; q++) {
      LEVEL(wide) sum;
      memcpy(&sum, (int16_t *)sums + q * LANES, sizeof sum);
      sum += partial[q];
      memcpy((int16_t *)sums + q * LANES, &sum, sizeof sum);
    }
    return;
  }
  int16_t each[BLOCK * LANES];
  memcpy(each, partial, (size_t)n * sizeof *partial);
  if (sum_bytes == 4)
    for (int k = 0; k < n * LANES; k++) ((int32_t *)sums)[k] += each[k];
  else
    for (int k = 0; k < n * LANES; k++) ((int64_t *)sums)[k] += each[k];
}

#define SUM_ROWS(n_vectors)                                                                                           \
  reached = 0;                                                                                                        \
  for (int64_t first = 0; first < n_events; first += 256) {                                                           \
    const int64_t last = first + 256 < n_events ? first + 256 : n_events;                                             \
    LEVEL(wide) sum[n_vectors];                                                                                       \
    for (int q = 0; q < (n_vectors); q++) sum[q] = (LEVEL(wide)){0};                                                  \
    for (int64_t e = first; e < last; e++) {                                                                          \
      const int8_t *row = weight + (int64_t)index[e] * stride + at;                                                   \
      if (effective) reached += effective[index[e]];                                                                  \
      for (int q = 0; q < (n_vectors); q++) sum[q] += LEVEL(load_wide)(row + q * LANES);                              \
    }                                                                                                                 \
    LEVEL(add_partial)(sum, n_vectors, (char *)sums + at * sum_bytes, sum_bytes);                                     \
  }

/* Returns what the spikes have in p->effective together, or 0 if all are alike: looked up here, between vector
 * instructions, it costs next to nothing. Every block of columns sums it anew, to the same number. */
TARGET SG_INLINE int64_t LEVEL(dense8)(const sg_projection *p, const events *in, void *restrict sums,
                                       const int sum_bytes) {
  const int8_t *restrict weight = p->weight;
  const int32_t *restrict index = in->index, *restrict effective = p->effective;
  const int64_t stride = p->row_stride, n_events = in->n;
  int64_t at = 0, reached = 0;
  for (; at + BLOCK * LANES <= stride; at += BLOCK * LANES) { SUM_ROWS(BLOCK) }
  for (; at + 4 * LANES <= stride; at += 4 * LANES) { SUM_ROWS(4) }
  for (; at < stride; at += LANES) { SUM_ROWS(1) }
  return reached;
}
#undef SUM_ROWS

/* Patches: a window that reaches runs of neighbours in rows of the target, `target_stride` apart. Spikes that follow
 * each other often reach the same patch, as those of the channels of a pixel do: they are summed in registers. */

#define MOST 8 /* registers for one row of a patch */

/* n registers of each row. */
TARGET SG_INLINE void LEVEL(patch_columns)(const sg_projection *p, const int8_t *weight, const int32_t *offset,
                                           int64_t n_spikes, int64_t n_rows, const LEVEL(wide) within, const int n,
                                           char *sums, const int sum_bytes) {
  for (int64_t r = 0; r < n_rows; r++) {
    LEVEL(wide) sum[MOST];
    for (int q = 0; q < n; q++) sum[q] = LEVEL(load_wide)(weight + offset[0] + q * LANES);
    for (int64_t k = 1; k < n_spikes; k++)
      for (int q = 0; q < n; q++) sum[q] += LEVEL(load_wide)(weight + offset[k] + q * LANES);
    sum[n - 1] &= within;
    LEVEL(add_partial)(sum, n, sums, sum_bytes);
    weight += p->row_stride;
    sums += p->target_stride * sum_bytes;
  }
}

TARGET SG_INLINE void LEVEL(patches)(const sg_projection *p, const events *in, void *sums, const int sum_bytes,
                                     uint8_t *awake, int all_awake) {
  static const int16_t ends[2 * LANES] = {[0 ... LANES - 1] = -1};
  const int32_t *index = in->index;
  int32_t offset[256];
  for (int64_t e = 0; e < in->n;) {
    const int32_t of = p->site[2 * (int64_t)index[e]];
    const int32_t *patch = p->patches + 3 * (int64_t)of;
    int64_t n_spikes = 0;
    do { /* at most 256, whose sum fits in 16 bits */
      offset[n_spikes++] = p->site[2 * (int64_t)index[e++] + 1];
    } while (e < in->n && n_spikes < 256 && p->site[2 * (int64_t)index[e]] == of);
    const int64_t target = patch[0], n_rows = patch[1], length = patch[2];
    if (!all_awake)
      for (int64_t r = 0, first = target; r < n_rows; r++, first += p->target_stride)
        for (int64_t row = first / SG_ROW; row <= (first + length - 1) / SG_ROW; row++) awake[row] = 1;
    for (int64_t at = 0; at < length; at += MOST * LANES) {
      const int64_t here = length - at < MOST * LANES ? length - at : MOST * LANES, n = (here + LANES - 1) / LANES;
      const int8_t *weight = (const int8_t *)p->weight + at;
      char *to = (char *)sums + (target + at) * sum_bytes;
      LEVEL(wide) within; /* all ones, up to where the run ends */
      memcpy(&within, ends + n * LANES - here, sizeof within);
#define CASE(n) case n: LEVEL(patch_columns)(p, weight, offset, n_spikes, n_rows, within, n, to, sum_bytes); break
      switch (n) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); CASE(7); CASE(8);
      }
#undef CASE
    }
  }
}
#undef MOST

#define WIDTH(bytes)                                                                                                  \
  TARGET APART static int64_t LEVEL(dense8_##bytes)(const sg_projection *p, const events *in, void *sums) {           \
    return LEVEL(dense8)(p, in, sums, bytes);                                                                         \
  }                                                                                                                   \
  TARGET APART static void LEVEL(patches_##bytes)(const sg_projection *p, const events *in, void *sums,               \
                                                  uint8_t *awake, int all_awake) {                                    \
    LEVEL(patches)(p, in, sums, bytes, awake, all_awake);                                                             \
  }
WIDTH(2)
WIDTH(4)
WIDTH(8)
#undef WIDTH

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

/* One bit of each of 64 numbers of 16 bits. */
TARGET SG_INLINE uint64_t LEVEL(flag64)(const int16_t *flags, const int bit) {
#if defined(__x86_64__) && LANES == 32
  const __m512i one = _mm512_set1_epi16((short)(1 << bit));
  const __m512i low = _mm512_loadu_si512((const void *)flags), high = _mm512_loadu_si512((const void *)(flags + 32));
  return _mm512_test_epi16_mask(low, one) | (uint64_t)_mm512_test_epi16_mask(high, one) << 32;
#else
  uint8_t narrow[64];
  for (int k = 0; k < 64; k++) narrow[k] = flags[k] >> bit & 1;
  return LEVEL(mask64)(narrow);
#endif
}

/* Write from + k for each bit k of the mask, and return the end; up to 16 more may be overwritten. No branch depends on
 * whether there is any: with few spikes that could not be foreseen. */
TARGET SG_INLINE int32_t *LEVEL(write_bits)(int32_t *to, int32_t from, uint64_t mask) {
  const int count = __builtin_popcountll(mask);
#if defined(__x86_64__) && LANES == 32
  static const uint8_t numbers[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                      16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
                                      32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                                      48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
  __m512i bits = _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512((const void *)numbers));
  int k = 0;
  do {
    const __m512i sixteen = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(bits));
    _mm512_storeu_si512((void *)(to + k), _mm512_add_epi32(sixteen, _mm512_set1_epi32(from)));
    bits = _mm512_alignr_epi64(bits, bits, 2);
    k += 16;
  } while (k < count);
#else
  for (int k = 0; k < count; k++) {
    to[k] = from + __builtin_ctzll(mask);
    mask &= mask - 1;
  }
#endif
  return to + count;
}

/* Append the indices of what spikes; the caller has reserved room for these and 16 more. */

/* Returns whether there is nothing but 0 and 1. */
TARGET static int LEVEL(append_input)(events *e, const uint8_t *all, int64_t first, int64_t n) {
  typedef uint8_t vector __attribute__((vector_size(64)));
  int32_t *to = e->index + e->n;
  vector seen = {0};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    vector here;
    memcpy(&here, all + i, sizeof here);
    seen |= here;
    to = LEVEL(write_bits)(to, (int32_t)(first + i), LEVEL(mask64)(all + i));
  }
  uint64_t parts[8], any = 0;
  memcpy(parts, &seen, sizeof parts);
  for (int k = 0; k < 8; k++) any |= parts[k];
  for (; i < n; i++) {
    *to = (int32_t)(first + i);
    to += all[i] != 0;
    any |= all[i];
  }
  e->n = to - e->index;
  return !(any & ~UINT64_C(0x0101010101010101));
}

TARGET static void LEVEL(append_fired)(events *e, const uint64_t *fired, int64_t first, int64_t n) {
  int32_t *to = e->index + e->n;
  for (int64_t k = 0; k < (n + SG_WORD - 1) / SG_WORD; k++)
    to = LEVEL(write_bits)(to, (int32_t)(first + k * SG_WORD), fired[k]);
  e->n = to - e->index;
}

/* Returns the effective synapses of these spikes: those whose weight is not 0. */
TARGET static int64_t LEVEL(add_events)(const sg_projection *p, const events *in, void *sums, int64_t sum_bytes,
                                        uint8_t *awake, int64_t n_rows) {
  const int32_t *value = in->value;
  int64_t effective = 0;
  /* Where so many spikes arrive that hardly a row can stay asleep, to say which woke costs more than it saves. */
  const int all_awake = p->kind == SG_DENSE8 || p->kind == SG_ROWS || (p->kind != SG_SPARSE && in->n >= n_rows / 2);
  if (all_awake) memset(awake, 1, (size_t)n_rows);
#define CHOOSE(kind_, w_, s_, call) \
  if (p->kind == kind_ && p->weight_bytes == w_ && sum_bytes == s_) call
  CHOOSE(SG_DENSE8, 1, 2, effective = LEVEL(dense8_2)(p, in, sums));
  CHOOSE(SG_DENSE8, 1, 4, effective = LEVEL(dense8_4)(p, in, sums));
  CHOOSE(SG_DENSE8, 1, 8, effective = LEVEL(dense8_8)(p, in, sums));
  CHOOSE(SG_PATCH, 1, 2, LEVEL(patches_2)(p, in, sums, awake, all_awake));
  CHOOSE(SG_PATCH, 1, 4, LEVEL(patches_4)(p, in, sums, awake, all_awake));
  CHOOSE(SG_PATCH, 1, 8, LEVEL(patches_8)(p, in, sums, awake, all_awake));
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
  return p->kind == SG_DENSE8 && p->effective ? effective : summed(in, p->effective, p->effective_each);
}

/* One step of the neurons first … last - 1, whose number is a multiple of 32: beyond the population's end lie neurons
 * that are nothing but 0, which cost less than an odd number would. What each neuron did goes into flags, as wide as
 * the narrowest sums, so that they vectorize together; `flagged` counts them. */

SG_INLINE sg_neuron LEVEL(neuron)(const sg_population *p, int64_t i) {
  const sg_neuron neuron = {p->keep_u[i],          p->keep_v[i],         p->threshold[i],   p->bias[i],
                            (int32_t)p->keep_mask, (int32_t)p->sub_mask, (int32_t)p->pause, (int32_t)p->max_spikes,
                            SG_KEEP_BITS};
  return neuron;
}

TARGET SG_INLINE void LEVEL(flagged)(int16_t *flags, int64_t n, uint64_t *busy, tally *out) {
  uint64_t rest = 0;
  memset(flags + n, 0, SG_WORD / 2 * sizeof *flags);
  for (int64_t k = 0; k < SG_ROW / SG_WORD; k++) {
    out->fired[k] = out->was_active[k] = 0;
    if (k * SG_WORD >= n) continue;
    out->fired[k] = LEVEL(flag64)(flags + k * SG_WORD, SG_FIRED);
    out->spikes += __builtin_popcountll(out->fired[k]);
    out->was_active[k] = LEVEL(flag64)(flags + k * SG_WORD, SG_GIVEN) | busy[k];
    out->active += __builtin_popcountll(out->was_active[k]);
    busy[k] = LEVEL(flag64)(flags + k * SG_WORD, SG_LEFT);
    rest |= busy[k];
  }
  out->rest = rest != 0;
}

#define FLAGS(fired, left, given) \
  (int16_t)((fired) | ((left) ? 1 << SG_LEFT : 0) | ((given) ? 1 << SG_GIVEN : 0))

/* small: u and v are small, nothing wraps, saturates or holds; hold: v may be held; each: parameters differ between
 * neurons, or x is shifted. */
#define UPDATE(name, sum_t, current, small, hold, each)                                                               \
  TARGET static void LEVEL(name)(const sg_population *p, cells *c, int64_t first, int64_t last, tally *out) {         \
    sum_t *restrict sums = (sum_t *)c->sums + first;                                                                  \
    int32_t *restrict us = c->u + first, *restrict vs = c->v + first;                                                 \
    int32_t *restrict helds = c->held + first, *restrict counts = c->n_spikes + first;                                \
    const int32_t *restrict keep_u = p->keep_u + first, *restrict keep_v = p->keep_v + first;                         \
    const int32_t *restrict thresholds = p->threshold + first, *restrict biases = p->bias + first;                    \
    const int left = each && p->exponent > 0 ? (int)p->exponent : 0;                                                  \
    const int right = each && p->exponent < 0 ? (int)-p->exponent : 0;                                                \
    sg_neuron one = LEVEL(neuron)(p, 0);                                                                              \
    const int unit = small ? (int)p->unit_bits : 0;                                                                   \
    one.keep_u >>= unit;                                                                                              \
    one.keep_v >>= unit;                                                                                              \
    one.keep_bits -= unit;                                                                                            \
    int16_t flags[SG_ROW + SG_WORD / 2];                                                                              \
    uint32_t wraps = 0, saturations = 0, rest = 0, most = 0;                                                          \
    const int64_t n = (last - first) / 32 * 32;                                                                       \
    INDEPENDENT for (int64_t i = 0; i < n; i++) {                                                                     \
      sg_neuron neuron = one;                                                                                         \
      if (each) {                                                                                                     \
        neuron.keep_u = keep_u[i] >> unit;                                                                            \
        neuron.keep_v = keep_v[i] >> unit;                                                                            \
        neuron.threshold = thresholds[i];                                                                             \
        neuron.bias = biases[i];                                                                                      \
      }                                                                                                               \
      const uint32_t x = (uint32_t)((int32_t)sums[i] >> right) << left;                                               \
      sums[i] = 0;                                                                                                    \
      sg_state state = {0, vs[i], hold ? helds[i] : 0, hold ? counts[i] : 0};                                         \
      const uint32_t u = current ? sg_current(&neuron, us[i], x, small) : x << SG_ALIGN_BITS;                         \
      state.u = small ? (int32_t)u : sg_wrap24(u);                                                                    \
      if (!small) wraps += state.u != (int32_t)u;                                                                     \
      const sg_fired f = sg_neuron_step(&neuron, &state, small, !small, hold);                                        \
      vs[i] = state.v;                                                                                                \
      most |= (uint32_t)sg_magnitude(state.v);                                                                        \
      if (current) {                                                                                                  \
        us[i] = state.u;                                                                                              \
        most |= (uint32_t)sg_magnitude(state.u);                                                                      \
      }                                                                                                               \
      if (hold) {                                                                                                     \
        helds[i] = state.held;                                                                                        \
        counts[i] = state.n_spikes;                                                                                   \
        rest |= (uint32_t)state.held;                                                                                 \
      }                                                                                                               \
      if (!small) saturations += (uint32_t)f.saturated;                                                               \
      flags[i] = FLAGS(f.s, state.u | state.v, x);                                                                    \
    }                                                                                                                 \
    LEVEL(flagged)(flags, n, c->busy + first / SG_WORD, out);                                                         \
    out->wraps += wraps;                                                                                              \
    out->saturations += saturations;                                                                                  \
    out->rest |= rest != 0;                                                                                           \
    out->most = (int32_t)most;                                                                                        \
  }
#define UPDATES(name, sum_t)                       \
  UPDATE(name##_small, sum_t, 0, 1, 0, 0)          \
  UPDATE(name##_small_each, sum_t, 0, 1, 0, 1)     \
  UPDATE(name##_any, sum_t, 0, 0, 0, 1)            \
  UPDATE(name##_hold, sum_t, 0, 0, 1, 1)           \
  UPDATE(name##_u_small, sum_t, 1, 1, 0, 0)        \
  UPDATE(name##_u_small_each, sum_t, 1, 1, 0, 1)   \
  UPDATE(name##_u_any, sum_t, 1, 0, 0, 1)          \
  UPDATE(name##_u_hold, sum_t, 1, 0, 1, 1)
UPDATES(update_2, int16_t)
UPDATES(update_4, int32_t)
#undef UPDATES
#undef UPDATE

/* Everything that may happen, x in 64 bits, with a trace. */
TARGET static void LEVEL(update_general)(const sg_population *p, cells *c, int64_t first, int64_t last, tally *out) {
  int64_t *restrict xs = c->x + first;
  int32_t *restrict us = c->u + first, *restrict vs = c->v + first, *restrict helds = c->held + first, *restrict counts = c->n_spikes + first;
  int32_t *restrict before_reset = c->before_reset + first;
  int64_t *restrict trace_x = c->trace_x + first;
  const int32_t *restrict keep_u = p->keep_u + first, *restrict keep_v = p->keep_v + first;
  const int32_t *restrict thresholds = p->threshold + first, *restrict biases = p->bias + first;
  const sg_neuron one = LEVEL(neuron)(p, 0);
  uint32_t current[SG_ROW], given[SG_ROW];
  int16_t flags[SG_ROW + SG_WORD / 2];
  uint32_t wraps = 0, saturations = 0, rest = 0;
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
    sg_state state = {sg_wrap24(current[i]), vs[i], helds[i], counts[i]};
    const sg_fired f = sg_neuron_step(&neuron, &state, 0, 1, 1);
    before_reset[i] = f.v_before_reset;
    us[i] = state.u;
    vs[i] = state.v;
    helds[i] = state.held;
    counts[i] = state.n_spikes;
    saturations += (uint32_t)f.saturated;
    rest |= (uint32_t)state.held;
    flags[i] = FLAGS(f.s, state.u | state.v, given[i]);
  }
  LEVEL(flagged)(flags, n, c->busy + first / SG_WORD, out);
  out->wraps += wraps;
  out->saturations += saturations;
  out->rest |= rest != 0;
}
#undef FLAGS

/* Shift the sums of a projection, add them to x and clear them; n is a multiple of 32. */
#define FOLD(sum_t)                                                                 \
  for (int64_t i = 0; i < n / 32 * 32; i++) {                                       \
    const int64_t sum = ((const sum_t *)sums)[i];                                   \
    x[i] += exponent >= 0 ? sum * ((int64_t)1 << exponent) : sum >> -exponent;      \
    ((sum_t *)sums)[i] = 0;                                                         \
  }
TARGET static void LEVEL(fold)(void *restrict sums, int64_t sum_bytes, int64_t exponent, int64_t n,
                               int64_t *restrict x) {
  if (sum_bytes == 2)
    FOLD(int16_t)
  else if (sum_bytes == 4)
    FOLD(int32_t)
  else
    FOLD(int64_t)
}
#undef FOLD

static const update_function LEVEL(updates)[2][8] = {
#define TABLE(name)                                                                                      \
  {LEVEL(name##_small),   LEVEL(name##_small_each),   LEVEL(name##_any),   LEVEL(name##_hold),           \
   LEVEL(name##_u_small), LEVEL(name##_u_small_each), LEVEL(name##_u_any), LEVEL(name##_u_hold)}
    TABLE(update_2), TABLE(update_4)
#undef TABLE
};

static const level LEVEL(functions) = {LEVEL(add_events), LEVEL(append_input),     LEVEL(append_fired),
                                       LEVEL(updates),    LEVEL(update_general), LEVEL(fold)};
