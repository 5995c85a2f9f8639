/* What spikes add to the input sums: a spike walks along the weights that leave its neuron.
 *
 * Sums are added up modulo 2^32, which is exact however large they grow: u keeps the low 24 bits of x << 6, so only the
 * low 18 bits of x matter. A shift of a sum to the left carries those of the sum into them, a shift to the right by at
 * most 8 needs the low 26.
 */

/* The place of the lowest bit that is set. */
static uint32_t lowest(uint32_t bits) {
#if defined(__GNUC__) && __SIZEOF_INT__ == 4
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

/* Four rows at once, so that a sum is loaded and stored once for four spikes. */
static void add_rows8(uint32_t *restrict x, const int8_t *restrict weight, const size_t *row, uint32_t n) {
  const int8_t *a = weight + row[0], *b = weight + row[1], *c = weight + row[2], *d = weight + row[3];
  uint32_t i;
  for (i = 0; i < n; i++) {
    const uint32_t w = (uint32_t)((int32_t)a[i] + b[i] + c[i] + d[i]);
    x[i] += w;
  }
}

static void add_rows16(uint32_t *restrict x, const int16_t *restrict weight, const size_t *row, uint32_t n) {
  const int16_t *a = weight + row[0], *b = weight + row[1], *c = weight + row[2], *d = weight + row[3];
  uint32_t i;
  for (i = 0; i < n; i++) {
    const uint32_t w = (uint32_t)((int32_t)a[i] + b[i] + c[i] + d[i]);
    x[i] += w;
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
  size_t rows[4];
  uint32_t w, bits, n_rows = 0;
  if (net->t < p->delay) return;
  spikes = spikes_of(net, s, net->t - p->delay);
  if (NETWORK_HAS_GRADED && s->graded) values = values_of(net, s, net->t - p->delay);
  for (w = 0; w < s->n_words; w++) {
    for (bits = spikes[w]; bits; bits &= bits - 1) {
      const uint32_t j = w * 32 + lowest(bits);
      const uint32_t value = (NETWORK_HAS_GRADED && s->graded ? (uint32_t)values[j] : 1) << p->left;
      if (!NETWORK_HAS_DENSE || p->kind != DENSE || value != 1) {
        deliver(p, x, j, value);
        continue;
      }
      rows[n_rows++] = (size_t)j * p->run;
      if (n_rows < 4) continue;
      n_rows = 0;
      if (NETWORK_HAS_WEIGHT8 && p->weight_bytes == 1) {
        add_rows8(x, (const int8_t *)p->weight, rows, p->run);
      } else if (NETWORK_HAS_WEIGHT16) {
        add_rows16(x, (const int16_t *)p->weight, rows, p->run);
      }
    }
  }
  while (n_rows) add(p, x, 1, rows[--n_rows], p->run, 1);
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
